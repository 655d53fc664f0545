#!/bin/bash
# curl as a user of the API types it: prints a line for each call, its name, HTTP status, Retry-After and body.
# Usage: curl.sh [NAME…]; all where none is named.
url=${OPENAI_BASE_URL%/v1}
bearer="Authorization: Bearer $OPENAI_API_KEY"

# NAME PATH [HEADER [BODY]]
call() {
  local name=$1 path=$2 head body=()
  [ -z "$4" ] || body=(--data "$4" --header 'Content-Type: application/json')
  head=$(mktemp)
  printf '%s\t' "$name"
  curl --silent --show-error --max-time 60 --dump-header "$head" --output "$head.body" --write-out '%{http_code}' \
    --header "$3" "${body[@]}" "$url$path" 2>&1
  printf '\t%s\t%s\n' "$(tr -d '\r' <"$head" | sed -n 's/^retry-after: //ip')" "$(tr '\n' '~' <"$head.body")"
}
user() { printf '[{"role": "user", "content": "%s"}]' "$1"; }
weather='{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}'

text() {
  call text /v1/chat/completions "$bearer" '{"model": "glm-pool", "messages": '"$(user hello)"'}'
  call text /v1/messages "x-api-key: $OPENAI_API_KEY" \
    '{"model": "glm-pool", "max_tokens": 99, "messages": '"$(user hello)"'}'
}
stream() {
  call stream /v1/chat/completions "$bearer" '{"model": "glm-pool", "stream": true, "messages": '"$(user hello)"'}'
  call stream /v1/messages "$bearer" \
    '{"model": "glm-pool", "stream": true, "max_tokens": 99, "messages": '"$(user hello)"'}'
}
tools() {
  call tools /v1/messages "$bearer" \
    '{"model": "glm-pool", "max_tokens": 99, "tools": ['"$weather"'], "messages": '"$(user 'call tool weather')"'}'
  call tools /v1/messages "$bearer" '{"model": "glm-pool", "max_tokens": 99, "tools": ['"$weather"'], "messages": [
    {"role": "user", "content": "call tool weather"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "one", "name": "weather", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "one", "content": "rain"}]}]}'
}
models() { call models /v1/models "$bearer"; }
count_tokens() {
  call count_tokens /v1/messages/count_tokens "$bearer" '{"model": "glm-pool", "messages": '"$(user count)"'}'
}
other_apis() {
  call other_apis /v1/embeddings "$bearer" '{"model": "glm-pool", "input": "x"}'
  call other_apis /v1/files "$bearer"
}
wrong_key() {
  call wrong_key /v1/chat/completions "Authorization: Bearer sk-wrong" '{"model": "glm-pool", "messages": []}'
  call wrong_key /v1/messages "x-api-key: sk-wrong" '{"model": "glm-pool", "max_tokens": 9, "messages": []}'
}
unknown_model() {
  call unknown_model /v1/chat/completions "$bearer" '{"model": "gpt-17", "messages": '"$(user x)"'}'
  call unknown_model /v1/messages "$bearer" '{"model": "gpt-17", "max_tokens": 9, "messages": '"$(user x)"'}'
}
# is ended after a second of a stream of many
interrupted() {
  curl --silent --max-time 1 --header "$bearer" --header 'Content-Type: application/json' --output /dev/null --data \
    '{"model": "glm-pool", "stream": true, "messages": '"$(user 'answer with 20000 words')"'}' "$url/v1/chat/completions"
  call interrupted /v1/chat/completions "$bearer" '{"model": "glm-pool", "messages": '"$(user hello)"'}'
}

for name in ${*:-text stream tools models count_tokens other_apis wrong_key unknown_model interrupted}; do "$name"; done
