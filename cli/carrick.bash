# SPDX-License-Identifier: Apache-2.0
# Completion of the command carrick for bash. Names of links, clients and groups are asked from the daemon, which
# gets little time for it: whoever presses Tab must not wait.

# The daemon's options on the line so far, so that the right daemon is asked.
_carrick_ask() {
    local -a pass=()
    local i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --socket | --node | --config | --manager) pass+=("${COMP_WORDS[i]}" "${COMP_WORDS[++i]}") ;;
        esac
    done
    "${COMP_WORDS[0]}" "${pass[@]}" --timeout 0.5 "$@" 2>/dev/null
}

# The first column of the table of groups.
_carrick_groups() {
    _carrick_ask failover | sed -n '/^GROUP /,$ { /^GROUP /d; s/ .*//p; }'
}

# Files whose name ends so, and directories.
_carrick_files() {
    mapfile -t COMPREPLY < <(compgen -d -- "$2"; compgen -f -X "!*$1" -- "$2")
    compopt -o filenames 2>/dev/null
}

_carrick() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local -a words=()
    local i
    COMPREPLY=()

    case $prev in
    --socket | --config)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        compopt -o filenames 2>/dev/null
        return
        ;;
    --node | --manager | --timeout | --why | --count) return ;;
    esac

    # Words of the command, without options and their values.
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --socket | --node | --config | --manager | --timeout | --why | --count) i=$((i + 1)) ;;
        -*) ;;
        *) words+=("${COMP_WORDS[i]}") ;;
        esac
    done
    [ "${words[0]-}" = help ] && words=("${words[@]:1}")

    if [[ $cur == -* ]]; then
        local options='--json --help'
        case ${words[0]-} in
        config) options+=' --node --syntax-only' ;;
        plugin) ;;
        doctor) options+=' --node --timeout' ;;
        plugins | reload | version) options+=' --socket --node --config --timeout' ;;
        *) options+=' --socket --node --config --timeout --manager' ;;
        esac
        case ${words[0]-} in
        '') options+=' --version' ;;
        status) options+=' --watch' ;;
        links | clients) options+=' --names' ;;
        events) options+=' --count --all' ;;
        session) options+=' --why' ;;
        takeover) options+=' --dry-run --force' ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
        return
    fi

    case ${words[*]-} in
    '')
        mapfile -t COMPREPLY < <(compgen -W "status links clients vis plugins stats events config doctor plugin \
            session link client failover takeover handover giveback boot-stage reload version help" -- "$cur")
        ;;
    config) mapfile -t COMPREPLY < <(compgen -W check -- "$cur") ;;
    plugin) mapfile -t COMPREPLY < <(compgen -W inspect -- "$cur") ;;
    session) mapfile -t COMPREPLY < <(compgen -W reset -- "$cur") ;;
    link) mapfile -t COMPREPLY < <(compgen -W 'down up' -- "$cur") ;;
    'link down' | 'link up') mapfile -t COMPREPLY < <(compgen -W "$(_carrick_ask links --names)" -- "$cur") ;;
    client) mapfile -t COMPREPLY < <(compgen -W "$(_carrick_ask clients --names)" -- "$cur") ;;
    failover) mapfile -t COMPREPLY < <(compgen -W timers -- "$cur") ;;
    takeover | handover | giveback) mapfile -t COMPREPLY < <(compgen -W "$(_carrick_groups)" -- "$cur") ;;
    boot-stage) mapfile -t COMPREPLY < <(compgen -W 'initramfs root services serving' -- "$cur") ;;
    'config check' | doctor) _carrick_files .json "$cur" ;;
    'plugin inspect') _carrick_files .so "$cur" ;;
    esac
}

complete -F _carrick carrick
