#!/bin/sh
# Verifies a backup that pg_basebackup has made and puts it on record with steward.register_backup. To be run after it:
#
#   register_backup.sh DIRECTORY LABEL LOCATION [off-site]
#
# DIRECTORY holds the backup with its backup_manifest (format plain); LOCATION is where it is kept. Connects as libpq's
# environment says (PGHOST, PGUSER …), as a login of the post service or ops, to the governed database. Nothing is put on
# record if the files are not those of the manifest.
#
# pgBackRest tells the same in its own words: label, type, lsn.start, lsn.stop, timestamp.start and timestamp.stop of
# `pgbackrest info --output=json`, and the SHA-256 of the backup's backup.manifest.
set -eu

directory=$1 label=$2 location=$3
case ${4-} in off-site) off_site=true ;; '') off_site=false ;; *) echo "off-site, or nothing" >&2; exit 2 ;; esac
manifest=$directory/backup_manifest

command -v pg_verifybackup >/dev/null || PATH=$PATH:$(pg_config --bindir)
pg_verifybackup --quiet --no-parse-wal "$directory"

# One line for each timeline, the newest first.
lsn() { sed -n "s|.*\"$1\": \"\([0-9A-F]*/[0-9A-F]*\)\".*|\1|p" "$manifest"; }

psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 \
    --set=label="$label" --set=location="$location" --set=off_site="$off_site" \
    --set=bytes="$(du -sb "$directory" | cut -f1)" \
    --set=digest="$(sha256sum "$manifest" | cut -d' ' -f1)" \
    --set=start="$(lsn Start-LSN | tail -n 1)" --set=stop="$(lsn End-LSN | head -n 1)" \
    --set=began="$(sed -n 's/^START TIME: //p' "$directory/backup_label")" \
    --set=ended="$(date --utc --reference="$manifest" '+%Y-%m-%d %H:%M:%S+00')" <<'SQL'
SELECT steward.register_backup('full', :'label', :'location', :'off_site', :'bytes', :'digest', :'start', :'stop', :'began', :'ended');
SQL
