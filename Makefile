# Thin: one line a target; the work is in scripts/ and the playbooks.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PORT

.PHONY: help setup demo demo-stop deploy check test test-fast lint unit plays gateway pool usage molecule bench lock docs clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install the tool chain into .venv/
	@scripts/bootstrap.sh

demo: setup ## run the proxy on this machine before a simulated Z.AI (PORT=4000)
	@scripts/demo.sh start

demo-stop: ## stop the demo
	@scripts/demo.sh stop

deploy: setup ## deploy the hosts of inventory/hosts.yml (ARGS="--ask-vault-pass -l host")
	@ansible-playbook site.yml $(ARGS)

check: setup ## show what deploy would change, and change nothing
	@ansible-playbook site.yml --check --diff $(ARGS)

test: setup ## install what the tests need and run them all
	@scripts/test.sh lint unit plays gateway programs molecule

test-fast: setup ## lint and unit tests only
	@scripts/test.sh lint unit

lint: setup ## the linters only
	@scripts/test.sh lint

unit: setup ## the unit tests only
	@scripts/test.sh unit

plays: setup ## the playbooks' tests against stand-ins and a Redis of their own only
	@scripts/test.sh plays

gateway: setup ## the tests of the gateway's HAProxy only
	@scripts/test.sh gateway

pool: setup ## the tests of the pool inside LiteLLM, before a simulated Z.AI, only
	@scripts/test.sh pool

usage: setup ## the tests of the usage report in a browser only
	@scripts/test.sh usage

molecule: setup ## the scenarios on test hosts in Docker only
	@scripts/test.sh molecule

bench: setup ## measure scheduler, simulation, pool, front, cluster, deploy, rotation (ARGS=pool for one, ARGS="pool --quick")
	@scripts/bench.sh $(ARGS)

lock: setup ## compile every requirements file anew
	@scripts/lock.sh

docs: setup ## write the table of variables into README.md
	@python scripts/variables_table.py --write

clean: ## remove the tool chain and the demo
	@scripts/demo.sh stop
	@rm -rf .venv .demo .cache .molecule
