#!/bin/sh
# A Redis in memory alone, with one user who may do what servers do, and nothing else.
# PASSWORD_FILE holds the password: letters and digits, as it stands in an address.
set -eu
umask 077
file=$(mktemp)
cat > "$file" <<END
port ${REDIS_PORT:-6379}
bind * -::*
save ""
appendonly no
dir /tmp
maxmemory 512mb
maxmemory-policy noeviction
user default off
user streamser on >$(cat "$PASSWORD_FILE") ~streamser:* &streamser:* +@read +@write +@pubsub +@scripting +@transaction +@connection -@dangerous
END
exec redis-server "$file"
