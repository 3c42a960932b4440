# Makes the cluster under another name first: whatever ends this, PGDATA is a whole cluster or is not there.
if [ -s "$PGDATA/PG_VERSION" ]; then exit 0; fi
draft=$PGDATA.draft
rm -rf "$draft"
PGDATA=$draft docker-ensure-initdb.sh "$@"
sync
if [ -d "$PGDATA" ]; then rmdir "$PGDATA"; fi
mv "$draft" "$PGDATA"
