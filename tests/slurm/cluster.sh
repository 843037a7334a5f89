#!/usr/bin/env bash
# A real Slurm of one node on this machine, for tests: `cluster.sh start [USER]`, `cluster.sh stop`. Debian, as root.
#
# The node claims more cores and memory than there may be, and a card that is none: what is tested is what jobs ask for
# and get told. Memory beyond what was asked for ends a job for real. An accounting database knows of two accounts of
# whoever tests; any other is refused. Needs no systemd and no cgroups; MariaDB has its data and its socket below STATE.
set -euo pipefail

STATE=/run/patchshift-slurm
CONFIG=/etc/slurm
FILES=(slurm.conf slurmdbd.conf gres.conf cgroup.conf)
MARK="# Written by patchshift's tests/slurm/cluster.sh, which removes it"
# The parts of MariaDB that make no database and start no server of their own.
PACKAGES=(slurmctld slurmd slurmdbd slurm-client munge mariadb-server-core mariadb-client-core)
COMMANDS=(slurmctld slurmd slurmdbd sbatch sacctmgr munged mungekey mariadbd mariadb-install-db my_print_defaults)
ACCOUNTS=(everyone inspection) # the first is the default
USER_OF_ACCOUNTS=${2:-root}

complain() { echo "$*" >&2; exit 1; }

check_machine() {
    [ "$(id -u)" = 0 ] || complain "a test Slurm needs root: its daemons start jobs for others"
    command -v apt-get >/dev/null || complain "a test Slurm is made of Debian's packages (${PACKAGES[*]}): apt-get is missing"
    for file in "${FILES[@]}"; do
        if [ -e "$CONFIG/$file" ] && ! grep -qxF "$MARK" "$CONFIG/$file"; then
            complain "$CONFIG/$file is there: this machine has a Slurm of its own, which is left alone. Test on another one"
        fi
    done
}

install_packages() {
    type -P "${COMMANDS[@]}" >/dev/null && return
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends --no-remove "${PACKAGES[@]}" >/dev/null
}

write_config() {
    local host
    host=$(hostname -s)
    mkdir -p "$CONFIG"
    cat >"$CONFIG/slurm.conf" <<CONF
$MARK
ClusterName=patchshift
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$STATE/munge.socket
CredType=cred/munge
StateSaveLocation=$STATE/state
SlurmdSpoolDir=$STATE/spool
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=2
# What jobs asked for and came to is kept by slurmdbd; one of an account that is none of the user's is refused.
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=26819
AccountingStoragePass=$STATE/munge.socket
AccountingStorageEnforce=associations
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
# A job that holds more memory than it asked for is ended within a second.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
GresTypes=gpu
# Which cards a job was given stands in its log.
TaskProlog=$STATE/prolog
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host MaxTime=INFINITE State=UP
CONF
    (umask 077 && cat >"$CONFIG/slurmdbd.conf") <<CONF
$MARK
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=26819
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$STATE/munge.socket
StorageType=accounting_storage/mysql
StorageUser=root
StorageLoc=slurm
PidFile=$STATE/slurmdbd.pid
LogFile=$STATE/slurmdbd.log
CONF
    # Small, and nothing of it needs to outlive a fall of the machine.
    cat >"$STATE/mariadb.cnf" <<CONF
[mariadbd]
user=root
skip-networking
skip-log-bin
socket=$STATE/mariadb.socket
datadir=$STATE/database
pid-file=$STATE/mariadbd.pid
log-error=$STATE/mariadbd.log
innodb_log_file_size=8M
innodb_buffer_pool_size=64M
innodb_flush_log_at_trx_commit=0
innodb_lock_wait_timeout=900
CONF
    printf '#!/bin/sh\necho "print cards: ${CUDA_VISIBLE_DEVICES:-none}"\n' >"$STATE/prolog"
    chmod +x "$STATE/prolog"
    printf '%s\nNodeName=%s Name=gpu File=/dev/zero\n' "$MARK" "$host" >"$CONFIG/gres.conf"
    printf '%s\nCgroupAutomount=no\n' "$MARK" >"$CONFIG/cgroup.conf"
}

wait_until() { # seconds, what is waited for, the command that tells
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until timeout 5 "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || complain "waited in vain for $what"
        sleep 0.1
    done
}

start_database() {
    mariadb-install-db --defaults-file="$STATE/mariadb.cnf" --auth-root-authentication-method=socket --skip-test-db
    setsid mariadbd --defaults-file="$STATE/mariadb.cnf" &
    wait_until 180 "MariaDB" test -S "$STATE/mariadb.socket"
    MYSQL_UNIX_PORT=$STATE/mariadb.socket slurmdbd
    wait_until 180 "slurmdbd" sacctmgr --noheader show cluster
    sacctmgr --immediate add cluster patchshift
    sacctmgr --immediate add account "${ACCOUNTS[@]}"
    sacctmgr --immediate add user "$USER_OF_ACCOUNTS" account="$(IFS=, && echo "${ACCOUNTS[*]}")" defaultaccount="${ACCOUNTS[0]}"
}

start_daemons() {
    mungekey --create --keyfile="$STATE/munge.key"
    munged --force --key-file="$STATE/munge.key" --socket="$STATE/munge.socket" --pid-file="$STATE/munged.pid" \
        --log-file="$STATE/munged.log" --seed-file="$STATE/munge.seed"
    start_database
    slurmctld
    slurmd
    wait_until 180 "the node" sh -c '[ "$(sinfo --noheader --partition=cpu --format=%T)" = idle ]'
}

start() {
    check_machine
    stop_daemons
    install_packages
    mkdir -p -m 755 "$STATE" "$STATE/state" "$STATE/spool"
    write_config
    trap 'echo "Slurm did not start:" && tail -n 5 "$STATE"/*.log' EXIT
    # A daemon that held this script's output open would keep whoever reads it waiting.
    (start_daemons) </dev/null >"$STATE/start.log" 2>&1
    trap - EXIT
    echo "Slurm is up: $(sinfo --version), node $(hostname -s)"
}

is_ours() { [ -d "$STATE" ] || grep -qsxF "$MARK" "$CONFIG/slurm.conf"; }

end_jobs() {
    timeout 10 squeue --noheader --format=%i | xargs --no-run-if-empty timeout 10 scancel || true
    for _ in $(seq 50); do
        [ -z "$(timeout 5 squeue --noheader 2>/dev/null)" ] && return
        sleep 0.2
    done
}

stop_daemon() {
    local pid
    pid=$(cat "$STATE/$1.pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 50); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
}

stop_daemons() {
    is_ours || return 0
    if [ -e "$STATE/slurmctld.pid" ] && kill -0 "$(cat "$STATE/slurmctld.pid")" 2>/dev/null; then
        end_jobs
    fi
    for daemon in slurmctld slurmd slurmdbd mariadbd munged; do
        stop_daemon "$daemon"
    done
    # Without a controller, every call of Snakemake with the Slurm plugin would wait for one that this file names.
    for file in "${FILES[@]}"; do
        if grep -qsxF "$MARK" "$CONFIG/$file"; then
            rm "$CONFIG/$file"
        fi
    done
    rm -rf "$STATE"
}

case "${1:-}" in
    start) start ;;
    stop)
        check_machine
        stop_daemons
        echo "Slurm is down, its configuration removed; its packages stay"
        ;;
    *) complain "usage: $0 start [USER] | stop" ;;
esac
