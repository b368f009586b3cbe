# A database server of its own for one test, which kills it and starts it again: `mariadb` or `postgres` as $1, its directory
# as $2. Prints the server's URL; then does what the lines on standard input say, with a line for each when it is done. Ends
# the server when they end.
set -euo pipefail
source scripts/lib/databases.sh
kind=$1 directory=$2
server_is_durable=1
chmod 711 "$directory" # the server's user passes through, and sees nothing else
"prepare_$kind" "$directory"
"start_$kind" "$directory"
trap 'stop_process "-$server_pid" KILL 5' EXIT
# As the URL has them.
account=${server_url#*://}
server_password=${account#*:} server_password=${server_password%%@*}
server_port=${account##*:} server_port=${server_port%%/*}
echo "$server_url"
while read -r word; do
    case $word in
        kill) stop_process "-$server_pid" KILL 5 ;;
        start) "start_$kind" "$directory" ;;
    esac
    echo "$word"
done
