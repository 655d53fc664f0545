#!/bin/bash
# curl as a user of the API types it. Each line of the input is a call: its name, the seconds after which it is broken
# off, path, header, a second one (or nothing) and body (or nothing), with the byte 1f between them. Prints a line for
# each: its name, HTTP status, Retry-After and body.
url=${OPENAI_BASE_URL%/v1}
head=$(mktemp)
while IFS=$'\x1f' read -r name seconds path header second body; do
  options=(--header "${header//KEY/$OPENAI_API_KEY}")
  [ -z "$second" ] || options+=(--header "$second")
  [ -z "$body" ] || options+=(--data "$body" --header 'Content-Type: application/json')
  : >"$head"
  status=$(curl --silent --show-error --max-time "$seconds" --dump-header "$head" --output "$head.body" \
    --write-out '%{http_code}' "${options[@]}" "$url$path" 2>&1)
  printf '%s\t%s\t%s\t%s\n' "$name" "${status##*$'\n'}" "$(tr -d '\r' <"$head" | sed -n 's/^retry-after: //ip')" \
    "$(tr '\n' '~' <"$head.body")"
done
