# SPDX-License-Identifier: Apache-2.0
# The lab: suites in machines with real kernel RDMA (tests/lab/README.md).

.PHONY: lab
lab:
	@scripts/deps build test nbd rdma lab
	+@$(submake) tests
	@$(run) python3 -B tests/lab/run --build '$(BUILD)' $(if $(KEEP),--keep) $(SUITE); status=$$?; \
		scripts/as-owner --give-back '$(BUILD)'; exit $$status
