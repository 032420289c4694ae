#!/usr/bin/env bash
# The steps of action.yml, one function each. What the user wrote arrives in environment variables only.
set -euo pipefail

venv="$RUNNER_TEMP/loramerge-venv"
loramerge="$venv/bin/loramerge"

# What to do, from the input and the event: on the default branch run, everywhere else plan.
decide() {
  case $LOCKED in
    true | false) ;;
    *) fail "locked is '$LOCKED'; expected true or false" ;;
  esac
  local decided=plan
  case $COMMAND in
    plan | run) decided=$COMMAND ;;
    auto)
      case $GITHUB_EVENT_NAME in
        schedule) decided=run ;; # schedules run on the default branch alone
        push | workflow_dispatch) [[ $GITHUB_REF != "refs/heads/$DEFAULT_BRANCH" ]] || decided=run ;;
      esac
      ;;
    *) fail "command is '$COMMAND'; expected auto, plan or run" ;;
  esac
  echo "command=$decided" >>"$GITHUB_OUTPUT"
}

# An environment of its own: the Python of the job stays as it is.
install() {
  "$PYTHON" -m venv --without-pip "$venv"
  local pip=("$PYTHON" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check)
  local constraints=(--constraint "$GITHUB_ACTION_PATH/constraints.txt")
  if [[ $DEVICE == cpu && -z $VERSION ]]; then
    # Without CUDA torch is a tenth of the size. Its index serves torch alone, the rest comes from PyPI.
    "${pip[@]}" "${constraints[@]}" --no-deps --index-url https://download.pytorch.org/whl/cpu torch
  fi
  if [[ -n $VERSION ]]; then
    "${pip[@]}" -- "$VERSION"
  else
    "${pip[@]}" "${constraints[@]}" -- "$GITHUB_ACTION_PATH${SIGN:+[sign]}"
  fi
  "$loramerge" --version
}

validate() {
  recipes
  "$loramerge" validate -- "${paths[@]}"
}

# Every recipe is planned whatever is wrong with one, so that the table is complete.
plan() {
  recipes
  local folder code=0
  folder=$(mktemp -d "$RUNNER_TEMP/loramerge.XXXXXX")
  "$loramerge" plan --json ${SIGN:+--signed} -- "${paths[@]}" >"$folder/plan.json" || code=$?
  local changes=true
  [[ $code != 0 ]] || changes=false
  printf '%s\n' "changes=$changes" "plan=$folder/plan.json" >>"$GITHUB_OUTPUT"
  show_plan "Plan"
  # A run does what can be done and says itself what could not.
  [[ $code == 0 || $code == 2 || $COMMAND == run ]] || exit "$code"
}

# A branch that moved is news on a pull request; a run takes what is locked, whatever has moved since.
locks() {
  recipes
  local code=0
  "$loramerge" lock --check --if-locked -- "${paths[@]}" || code=$?
  [[ $code == 0 || $code == 4 && $COMMAND == run ]] || exit "$code"
  [[ $code == 0 ]] || echo "::warning title=loramerge::Some sources are not what the locks say; the locked ones are used"
}

run() {
  recipes
  local code=0
  "$loramerge" run --keep-going --device "$DEVICE" ${SIGN:+--sign "$SIGN"} -- "${paths[@]}" || code=$?
  show_plan "After the run"
  exit "$code"
}

# The table, in the log and in the job's summary. Its exit code is that of a plan that has been looked at.
show_plan() {
  printf '### loramerge: %s\n\n' "$1" >>"$GITHUB_STEP_SUMMARY"
  "$loramerge" plan --markdown ${SIGN:+--signed} -- "${paths[@]}" | tee -a "$GITHUB_STEP_SUMMARY" || true
  echo >>"$GITHUB_STEP_SUMMARY"
}

# The input `recipes`, one path a line.
recipes() {
  paths=()
  local line
  while IFS= read -r line || [[ -n $line ]]; do
    line=${line#"${line%%[![:space:]]*}"}
    line=${line%"${line##*[![:space:]]}"}
    [[ -z $line ]] || paths+=("$line")
  done <<<"$RECIPES"
  [[ ${#paths[@]} -gt 0 ]] || fail "recipes names no path"
}

fail() {
  echo "::error title=loramerge::$1"
  exit 64
}

"$1"
