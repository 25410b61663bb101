# make demo   see it work: a real PostgreSQL, an issuer, the gateway and an agent, on loopback
#             (ARGS=--script plays the whole story, checks it, and stops)
# make demo-az  the same with the real az, which it installs (800 MB, minutes) if there is none
# make test   what has to pass before a change lands
# make lint   only the style and the types
# make sanitize  drive the compiled twins with the sanitizers of gcc in them (takes minutes)
# make bench  measure against direct connections (takes minutes)
# make clean  remove all that the above made here

PYTHON_BIN := .venv/bin/python
SOURCES := hoopgw protocols plugins tests

.PHONY: demo demo-az test lint sanitize bench clean

demo:
	@scripts/setup.sh demo
	@.venv/bin/hoopgw demo $(ARGS)

demo-az:
	@scripts/setup.sh demo
	@command -v az >/dev/null || .venv/bin/python -m hoopgw.demo.azure_cli >/dev/null
	@.venv/bin/hoopgw demo $(ARGS)

test: lint
	@echo 'test: pytest'
	@$(PYTHON_BIN) -m pytest -n 2 --dist loadfile -q

lint:
	@scripts/setup.sh dev
	@echo 'lint: ruff'
	@$(PYTHON_BIN) -m ruff check --quiet .
	@$(PYTHON_BIN) -m ruff format --check --quiet .
	@echo 'lint: mypy'
	@$(PYTHON_BIN) -m mypy

sanitize:
	@scripts/setup.sh dev
	@scripts/sanitize.sh $(ARGS)

bench:
	@scripts/setup.sh dev
	@$(PYTHON_BIN) -m benchmarks

clean:
	rm -rf .venv .demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name dropin.cache -delete
