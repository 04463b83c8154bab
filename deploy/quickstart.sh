#!/usr/bin/env bash
# From a fresh clone to answered questions: sets up, builds, starts a replay fleet and weir in front of it, asks real
# questions, shows what each cost, and leaves both running.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: deploy/quickstart.sh [--port N] [--fleet-port N] [--questions N] [--no-setup]
       deploy/quickstart.sh --stop

  --port N        weir listens on 127.0.0.1:N, its admin listener on N+1 (default 8080)
  --fleet-port N  where the replay fleet listens (default 9100)
  --questions N   how many questions to ask (default 12)
  --no-setup      trust that deploy/setup.sh has run
  --stop          end what an earlier run left running

Running it again stops what it started before and begins anew. Everything it writes is in weir-state/.
EOF
}

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
state=$root/weir-state
run=$state/quickstart
ledger=$state/ledger.sqlite
policy=policies/examples/quickstart.yaml
weir=$root/build/release/gateway/weir
fleet=$root/build/release/tests/fleet/weir-fleet
port=8080 fleet_port=9100 questions=12 setup=1 stop_only=0

die() {
    printf 'quickstart: error: %s\n' "$*" >&2
    exit 1
}
say() { printf 'quickstart: %s\n' "$*"; }

number() { # option value
    if ! [[ ${2:-} =~ ^[0-9]{1,5}$ ]] || [ "$2" -lt 1 ] || [ "$2" -gt 65534 ]; then
        die "$1 wants a number from 1 to 65534, not '${2:-}'"
    fi
}

while [ $# -gt 0 ]; do
    case $1 in
    --port) number "$1" "${2:-}" && port=$2 && shift ;;
    --fleet-port) number "$1" "${2:-}" && fleet_port=$2 && shift ;;
    --questions) number "$1" "${2:-}" && questions=$2 && shift ;;
    --no-setup) setup=0 ;;
    --stop) stop_only=1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    shift
done
admin_port=$((port + 1))

# ---- processes ----

# The pid in FILE, if it still is a process of ours: pids are reused.
running() { # name
    local pid
    [ -f "$run/$1.pid" ] || return 1
    pid=$(cat "$run/$1.pid")
    [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -- "$root/build/release/.*$1 " || return 1
    printf '%s\n' "$pid"
}

stop() { # name
    local pid
    if pid=$(running "$1"); then
        kill "$pid"
        for _ in $(seq 400); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        if kill -0 "$pid" 2>/dev/null; then die "$1 (pid $pid) does not end; see $run/$1.log"; fi
        say "stopped $1 (pid $pid)"
    fi
    rm -f "$run/$1.pid"
}

start() { # name command...
    local name=$1
    shift
    nohup "$@" </dev/null >"$run/$name.log" 2>&1 &
    printf '%s\n' $! >"$run/$name.pid"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

want_free() { # port what option
    if listens "$1"; then
        die "port $1, wanted for $2, is in use by another program. Choose another one: ./deploy/quickstart.sh $3 N"
    fi
}

wait_ready() { # name url
    for _ in $(seq 300); do
        if curl -fsS -o /dev/null --max-time 2 "$2" 2>/dev/null; then return; fi
        running "$1" >/dev/null || {
            tail -n 20 "$run/$1.log" >&2
            die "$1 ended at start; its log is above"
        }
        sleep 0.1
    done
    tail -n 20 "$run/$1.log" >&2
    die "$1 was not ready within 30 s; the end of its log is above"
}

if [ $stop_only = 1 ]; then
    stop weir
    stop weir-fleet
    exit 0
fi

# ---- set up, build, start ----

if [ $setup = 1 ]; then ./deploy/setup.sh --build; fi

say "building (build/release)"
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
mkdir -p build/release "$run"
cmake --preset release "${launcher[@]}" >build/release/quickstart-build.log || {
    cat build/release/quickstart-build.log >&2
    die "cmake failed"
}
ninja -C build/release weir weir-fleet >>build/release/quickstart-build.log || {
    tail -n 40 build/release/quickstart-build.log >&2
    die "the build failed; all of it is in build/release/quickstart-build.log"
}

stop weir
stop weir-fleet
want_free "$port" "weir" --port
want_free "$admin_port" "weir's admin listener" --port
want_free "$fleet_port" "the replay fleet" --fleet-port

# With other ports than the example's a copy of it is served.
if [ "$port/$fleet_port" != 8080/9100 ]; then
    mkdir -p "$run"
    sed -e "s/127\.0\.0\.1:9100/127.0.0.1:$fleet_port/g" -e "s/127\.0\.0\.1:8080/127.0.0.1:$port/g" \
        -e "s/127\.0\.0\.1:8081/127.0.0.1:$admin_port/g" "$policy" >"$run/quickstart.yaml"
    policy=${run#"$root"/}/quickstart.yaml
    grep -q "127.0.0.1:$port" "$policy" || die "policies/examples/quickstart.yaml no longer names 127.0.0.1:8080"
fi

# A tenth of the models' usual latency: slow enough to watch a stream, fast enough for a first look.
start weir-fleet "$fleet" --port "$fleet_port" --rows tests/fleet/sample/sample.jsonl.gz --time-scale 0.1
wait_ready weir-fleet "http://127.0.0.1:$fleet_port/v1/models"
start weir "$weir" serve -c "$policy"
wait_ready weir "http://127.0.0.1:$admin_port/readyz"
url=http://127.0.0.1:$port/v1
say "weir serves $policy at $url"

# ---- ask ----

header() { # name: its value in the last reply's head
    tr -d '\r' <"$run/head" | awk -F': ' -v name="$1" 'tolower($1) == name { print $2; exit }'
}

booked() { # request id: cost in USD from the ledger, which is written within a moment of the reply
    local usd
    for _ in $(seq 50); do
        usd=$(sqlite3 -readonly "$ledger" \
            "SELECT printf('%.9f', cost_nanousd / 1e9) FROM requests WHERE request_id = '$1'" 2>/dev/null || true)
        if [ -n "$usd" ]; then
            printf '%s\n' "$usd"
            return
        fi
        sleep 0.1
    done
    printf 'not booked\n'
}

ms() { awk -v s="$1" 'BEGIN { printf "%.0f", s * 1000 }'; }

row='%-34.34s %-6s %-16.16s %-23.23s %-12.12s %6s %6s %12s %6s %6s\n'
failures=0
shown=''

ask() { # model stream question
    local body timing status id tokens ttft='-' kind=whole reply
    body=$(jq -cnR --arg model "$1" --argjson stream "$2" --arg q "$3" '
        ($q | gsub("\\\\(?<c>[\\\\n])"; if .c == "n" then "\n" else "\\" end)) as $text
        | {model: $model, messages: [{role: "user", content: $text}]}
        + (if $stream then {stream: true, stream_options: {include_usage: true}} else {} end)')
    timing=$(curl -sS -N --max-time 120 -D "$run/head" -o "$run/reply" -w '%{http_code} %{time_starttransfer} %{time_total}' \
        -H 'Content-Type: application/json' --data-binary "$body" "$url/chat/completions")
    read -r status ttft_s total_s <<<"$timing"
    id=$(header x-request-id)
    if [ "$status" != 200 ]; then
        failures=$((failures + 1))
        printf 'quickstart: %s: HTTP %s: %s\n' "${3:0:30}" "$status" "$(head -c 300 "$run/reply")"
        return
    fi
    reply=$run/reply
    if [ "$2" = true ]; then
        kind=stream
        ttft=$(ms "$ttft_s")
        # The usage is in the last event but [DONE].
        sed -n 's/^data: \({.*\)$/\1/p' "$run/reply" | tail -n 1 >"$run/usage"
        reply=$run/usage
        grep -q '^data: \[DONE\]' "$run/reply" || failures=$((failures + 1))
    fi
    tokens=$(jq -r '.usage | "\(.prompt_tokens) \(.completion_tokens)"' "$reply")
    # shellcheck disable=SC2059 # the row's layout is ours
    printf "$row" "$(sed -e 's/\\n/ /g' -e 's/\\\\/\\/g' -e 's/^ *//' <<<"$3")" "$kind" "$1" "$(header x-weir-model)" "$(header x-weir-route)" "${tokens% *}" "${tokens#* }" \
        "$(booked "$id")" "$(ms "$total_s")" "$ttft"
    if [ "$2" = false ] && [ -z "$shown" ]; then
        shown=$(jq -r '.choices[0].message.content' "$run/reply" | tr '\n' ' ' | cut -c1-220)
    fi
}

mapfile -t names < <(curl -fsS "$url/models" | jq -r '.data[].id')
[ ${#names[@]} -gt 0 ] || die "weir lists no models"
# The name that most clients would ask for.
front=${names[0]}
if printf '%s\n' "${names[@]}" | grep -qx auto; then front=auto; fi
began=$(date +%s%6N)
say "asking $questions questions of tests/fleet/sample (MMLU-Pro and CRUXEval), half of them streamed"
echo
# shellcheck disable=SC2059
printf "$row" question "" asked served route in out USD ms "TTFT"
mapfile -t asked < <(awk -v n="$questions" 'length($0) < 700 && c < n { print; c++ }' tests/fleet/sample/questions.txt)
for i in "${!asked[@]}"; do
    # Two of three ask for the front name, the third for each name in turn.
    if [ $((i % 3)) -lt 2 ]; then name=$front; else name=${names[i % ${#names[@]}]}; fi
    if [ $((i % 2)) = 1 ]; then stream=true; else stream=false; fi
    ask "$name" $stream "${asked[i]}"
done

echo
say "asking all 300 questions three times over, and telling weir which answers were right (deploy/quickstart_traffic.py)"
python3 deploy/quickstart_traffic.py --url "${url%/v1}" --admin "http://127.0.0.1:$admin_port" || die "the learning run failed"

echo
sqlite3 -readonly "$ledger" "
    SELECT printf('total: %d requests, %d attempts, \$%.6f',
                  count(*), sum(attempts), sum(cost_nanousd) / 1e9) FROM requests WHERE received_wall_us >= $began;
    SELECT printf('  %-24s %3d answered  \$%.6f', served_model, count(*), sum(cost_nanousd) / 1e9)
      FROM requests WHERE received_wall_us >= $began GROUP BY served_model ORDER BY 1;"
cat <<EOF

The first answer begins: $shown

Left running:
  API      $url           (any OpenAI client: base_url="$url", any key)
  admin    http://127.0.0.1:$admin_port      /readyz /metrics /admin/requests /admin/policy
  ledger   ${ledger#"$root"/}   every attempt with its tokens and cost
  policy   $policy
  logs     ${run#"$root"/}/*.log

Try:   curl -N $url/chat/completions -H 'Content-Type: application/json' \\
         -d '{"model": "$front", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
Why:   ${weir#"$root"/} explain $policy --model $front "Write a haiku about autumn"
Seen:  ${weir#"$root"/} beliefs --url http://127.0.0.1:$admin_port          what is believed of each model, class by class
       ${weir#"$root"/} report --since 1h --config $policy     what was spent, saved and achieved
Stop:  ./deploy/quickstart.sh --stop

The models above replay recorded answers. To put a real one there, name its server in the policy's backends, for example
  backends: {mine: {dialect: openai, url: "http://127.0.0.1:8000/v1"}}          # vLLM, llama.cpp, Ollama
  backends: {openai: {dialect: openai, url: "https://api.openai.com/v1", key_env: OPENAI_API_KEY}}
and its model with a price; then: ${weir#"$root"/} check FILE && ${weir#"$root"/} serve -c FILE
EOF
[ $failures = 0 ] || die "$failures of the questions had no whole answer"
