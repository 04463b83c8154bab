# What every target of ours shares: warnings, sanitizers, include root. One INTERFACE target, linked by all.
add_library(weir_options INTERFACE)
target_include_directories(weir_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(weir_options INTERFACE _GNU_SOURCE)
target_compile_options(weir_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
    -Wswitch-enum -Wvla -Wformat=2 -Wcast-qual -Wundef -fno-omit-frame-pointer)
# Every build keeps its asserts, CMake's release types too: they are cheap (no difference that tests/bench can see), and a
# broken invariant must not go on with somebody's money.
target_compile_options(weir_options INTERFACE -UNDEBUG)
if(WEIR_WERROR)
    target_compile_options(weir_options INTERFACE -Werror)
endif()
if(WEIR_SANITIZE)
    target_compile_options(weir_options INTERFACE -fsanitize=${WEIR_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(weir_options INTERFACE -fsanitize=${WEIR_SANITIZE})
endif()
if(WEIR_FUZZ)
    target_compile_options(weir_options INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
    target_link_options(weir_options INTERFACE -fsanitize=address,undefined)
endif()

# weir_library(base SOURCES a.c b.c LINKS PUBLIC x PRIVATE y): a room as a static library weir_<name>.
function(weir_library name)
    cmake_parse_arguments(A "" "" "SOURCES;LINKS" ${ARGN})
    add_library(weir_${name} STATIC ${A_SOURCES})
    target_link_libraries(weir_${name} PUBLIC weir_options ${A_LINKS})
endfunction()

# weir_unit_test(test_buf weir_base): tests/unit/<room>/test_buf.c with cmocka, registered with ctest under label unit.
function(weir_unit_test name)
    add_executable(${name} ${name}.c)
    target_link_libraries(${name} PRIVATE ${ARGN} cmocka)
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 400)
endfunction()

# weir_fuzz_target(fuzz_sse weir_wire): a libFuzzer binary with -DWEIR_FUZZ=ON; always also a corpus replay test
# (tests/fuzz/replay_main.c calls LLVMFuzzerTestOneInput on each file of tests/fuzz/corpus/<name>/).
function(weir_fuzz_target name)
    if(WEIR_FUZZ)
        add_executable(${name} ${name}.c)
        target_link_libraries(${name} PRIVATE ${ARGN})
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    endif()
    add_executable(${name}_replay ${name}.c ${CMAKE_SOURCE_DIR}/tests/fuzz/replay_main.c)
    target_link_libraries(${name}_replay PRIVATE ${ARGN})
    add_test(NAME ${name}_replay COMMAND ${name}_replay ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
    set_tests_properties(${name}_replay PROPERTIES LABELS fuzz TIMEOUT 120)
endfunction()

# weir_embed_file(weir_x symbol data/file): the file's bytes inside the program, as `struct slice symbol(void)`.
function(weir_embed_file target SYMBOL file)
    get_filename_component(FILE_PATH ${file} ABSOLUTE)
    get_filename_component(FILE_NAME ${file} NAME)
    set(generated ${CMAKE_CURRENT_BINARY_DIR}/${SYMBOL}.c)
    configure_file(${CMAKE_SOURCE_DIR}/deploy/cmake/embed.c.in ${generated} @ONLY)
    set_source_files_properties(${generated} PROPERTIES OBJECT_DEPENDS ${FILE_PATH})
    target_sources(${target} PRIVATE ${generated})
endfunction()
