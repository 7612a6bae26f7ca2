# A terminal of 100 columns by 30 rows with a shell in it, typed into and read through tmux. Sourced
# after lib.sh. The prompt shows what the command before it ended with: `[0]>`.

SCREEN="$WORK/screen"
HOME_FOLDER="$WORK/home"
# Where the texts of edits are kept.
DRAFTS="$WORK/drafts"
# How long anything may take to be seen, in seconds.
PATIENCE=20

# -N, lest a command that comes too early starts a server that nobody ends.
panes() { tmux -N -S "$SCREEN" -f /dev/null "$@"; }

# open_screen: starts tmux on a socket of its own; it ends with the servers.
open_screen() {
  mkdir -p "$HOME_FOLDER"
  # In the foreground, so that it has a process id to end it by.
  LC_ALL=C.UTF-8 tmux -D -u -S "$SCREEN" -f /dev/null >&2 &
  servers+=("$!")
  await "tmux" panes new-session -d -x 100 -y 30 -s edit
  # What a user's tmux would say of itself is none of this.
  panes set-option -g status off
  panes resize-window -t edit -x 100 -y 30
}

# await WHAT CONDITION…: until it holds. If it never does, shows the screen and fails.
await() {
  local what=$1 deadline=$((SECONDS + PATIENCE))
  shift
  until "$@"; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "waited for $what; on the screen:"
      echo "$(screen)"
      return 1
    fi >&2
    sleep 0.05
  done
}

# terminal: a fresh shell on an empty screen, for which `ifmatch` is a command, vi the editor and
# IFMATCH_SERVER the service.
terminal() {
  rm -rf "$DRAFTS"
  mkdir "$DRAFTS"
  panes respawn-pane -k -t edit -c "$HOME_FOLDER" env -u VISUAL -u EDITOR -u HISTFILE \
    "PATH=$(dirname "$IFMATCH"):$PATH" "HOME=$HOME_FOLDER" "TMPDIR=$DRAFTS" \
    "IFMATCH_SERVER=$IFMATCH_SERVER" 'PS1=[$?]> ' bash --noprofile --norc -o pipefail
  ends_with 0
}

# screen: what is on the screen, lines that were too long for it joined again.
screen() { panes capture-pane -p -J -t edit | sed 's/ *$//'; }

screen_has() { [[ $(screen) == *"$1"* ]]; }
screen_lacks() { ! screen_has "$1"; }
first_line_has() { [[ $(screen | sed -n 1p) == *"$1"* ]]; }
line_is_like() { grep -qE "$1" <<<"$(screen)"; }
last_line_is() {
  local lines
  lines=$(screen)
  [ "${lines##*$'\n'}" = "$1" ]
}
# Wherever the lines break.
typed_is_there() { [[ $(screen | tr -d ' \n') == *"$(tr -d ' \n' <<<"$1")" ]]; }

# keys KEY…: presses keys, as tmux calls them, or types what is no key's name.
keys() { panes send-keys -t edit "$@"; }

# types COMMAND: at the prompt, and Enter once it stands there.
types() {
  panes send-keys -t edit -l -- "$1"
  await "the command that was typed" typed_is_there "$1"
  keys Enter
}

# shows TEXT…: awaits each of them.
shows() {
  local text
  for text in "$@"; do await "\"$text\"" screen_has "$text"; done
}

# ends_with STATUS: awaits the prompt.
ends_with() { await "the status $1" last_line_is "[$1]>"; }

# records: from here on, what comes and goes on the screen too fast to be awaited.
records() {
  : >"$WORK/recording"
  panes pipe-pane -t edit "cat >>'$WORK/recording'"
}
has_recorded() { grep -qF -- "$1" "$WORK/recording"; }

# kept: the file that the screen says the text is kept in.
kept() { screen | sed -n 's/^The text is kept in //p'; }
