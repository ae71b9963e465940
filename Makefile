# The commands of pg_steward. `make demo` and `make test` install what is missing by themselves.
SHELL := /bin/bash
export PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config

.PHONY: help tools demo demo-stop test test-long bench install witness clean

help:
	@echo 'make demo       a school e-card database under policy, in a throw-away cluster'
	@echo 'make demo-stop  stop and delete it'
	@echo 'make test       every test; the last line counts them'
	@echo 'make test-long  the tests of faults at full length: hundreds of crashes, millions of statements'
	@echo 'make install    build and install into the server that PG_CONFIG names'
	@echo 'make witness    build steward-witness, which watches the audit chain from outside'
	@echo 'make bench      pgbench side by side with plain PostgreSQL, pgaudit and audit triggers (17 minutes)'
	@echo '                see also benches/instructions/run and benches/latency/run'
	@echo 'make clean      remove what was built'

tools:
	@pg_test/tools

demo: tools
	@sql/packs/education_ecard/demo/run

demo-stop:
	@sql/packs/education_ecard/demo/run stop

test: tools
	@pg_test/run

test-long: tools
	@pg_test/run long

bench: tools
	@benches/overhead/run

install:
	@pg_test/tools build
	@. pg_test/server.sh && install_extension
	@echo
	@echo 'Installed. Put these lines into postgresql.conf (keep other preloaded libraries, pg_steward last),'
	@echo 'restart the server, and run CREATE EXTENSION pg_steward in the database that you name:'
	@echo
	@echo "    shared_preload_libraries = 'pg_steward'"
	@echo "    steward.database = 'school'"
	@echo "    steward.mode = 'enforce'"
	@echo "    steward.key_file = '/var/lib/postgresql/steward.key'"
	@echo
	@echo 'The key is made once, by the user of the server: (umask 077; openssl rand -hex 32 > /var/lib/postgresql/steward.key)'
	@echo
	@echo 'Nothing is refused until SELECT steward.activate().'

witness:
	@pg_test/tools build
	cargo build --release --locked --features witness --bin steward-witness
	@echo "$${CARGO_TARGET_DIR:-target}/release/steward-witness"

clean:
	cargo clean
