# Keeps one PostgreSQL server. Reads commands, one a line, and answers each with its status. At the end of its input it stops the
# server and removes all that is left of it. $1 is the folder, $2 the folder of PostgreSQL's programs.
trap '' INT TERM HUP PIPE
pid=
all() { echo "$pid $(cat "/proc/$pid/task/$pid/children" 2>/dev/null)"; }
while read -r word port; do
    case $word in
        init) "$2/initdb" -D "$1/data" -U postgres --pwfile="$1/password" -E UTF8 --locale=C -A scram-sha-256 --no-sync \
                >"$1/log" 2>&1 && cat "$1/more.conf" >>"$1/data/postgresql.conf" ;;
        start) "$2/postgres" -D "$1/data" -p "$port" >>"$1/log" 2>&1 </dev/null & pid=$! ;;
        stop) kill -INT "$pid"; wait "$pid"; pid= ;;
        kill) kill -KILL $(all); wait "$pid"; pid= ;;
        pause) kill -STOP $(all) ;;
        resume) kill -CONT $(all) ;;
    esac
    echo "$?"
done
if [ -n "$pid" ]; then
    kill -CONT $(all)
    kill -QUIT "$pid"
    wait "$pid"
fi
# What a killed server leaves in the system: its key and number are in line 7.
sed -n 7p "$1/data/postmaster.pid" | { read -r key id && ipcrm -m "$id"; }
rm -rf "$1"
