# The process and its command line: weir_process is everything but argv, weir is the program.
pkg_check_modules(PROCESS_JANSSON REQUIRED IMPORTED_TARGET jansson)
weir_library(process
    SOURCES api_admin.c control.c control_cache.c control_encoder.c control_learn.c control_loop.c control_metrics.c control_policy.c control_state.c control_vectors.c diag_json.c json_put.c model_list_json.c policy_draft.c policy_reload.c policy_store.c policy_watch.c
        admin_reply.c api_beliefs.c api_backends.c api_policy.c api_requests.c beliefs_json.c admin_route.c change_log.c
        api_cache.c api_cache_entries.c api_cache_explain.c api_cache_health.c api_cache_move.c api_cache_warm.c cache_health.c cache_json.c cache_line.c cache_task.c cache_where.c
    LINKS weir_gateway weir_router weir_cache weir_policies weir_backends weir_wire weir_base PkgConfig::PROCESS_JANSSON
          PkgConfig::EVENT)

add_executable(weir main.c
    cli/bench_figures.c cli/bench_hindsight.c cli/bench_json.c cli/bench_learner.c cli/bench_near.c cli/bench_run.c cli/bench_set.c cli/bench_stream.c cli/bench_stream_print.c cli/bench_svg.c cli/bench_told.c cli/cmd_bench.c
    cli/cache_client.c cli/cmd_cache.c cli/cmd_cache_eval.c cli/cmd_cache_explain.c cli/cmd_cache_health.c cli/cmd_cache_ls.c cli/cmd_cache_move.c cli/cmd_cache_rm.c cli/cmd_cache_stats.c cli/cmd_cache_tune.c cli/cmd_cache_warm.c
    cli/admin_client.c cli/cmd_beliefs.c
    cli/classing.c cli/cli.c cli/cmd_backends.c cli/cmd_check.c cli/cmd_classify.c cli/cmd_diff.c cli/cmd_distil.c cli/cmd_embed.c cli/cmd_explain.c cli/confirm.c cli/cmd_help.c cli/cmd_model.c cli/cmd_models.c cli/cmd_schema.c
    cli/cmd_serve.c cli/cmd_version.c cli/discover.c cli/fetch.c cli/help.c cli/jsonl.c cli/lines.c cli/out.c cli/pchr.c cli/progress.c cli/cmd_eval.c cli/cmd_train.c cli/training.c)
target_compile_definitions(weir PRIVATE WEIR_VERSION="${PROJECT_VERSION}")
target_link_libraries(weir PRIVATE weir_process weir_models weir_train)
install(TARGETS weir RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
target_sources(weir PRIVATE cli/cmd_feedback.c cli/cmd_why.c cli/explain_beliefs.c cli/story.c)
target_sources(weir PRIVATE cli/cmd_replay.c cli/cmd_report.c cli/cmd_top.c cli/samples.c cli/terminal.c cli/ledger_option.c)
target_link_libraries(weir PRIVATE weir_pages)
