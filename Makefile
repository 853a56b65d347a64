# Tocsin: `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.
BUILD ?= build
CC ?= gcc
PKGS := libevent libevent_openssl hiredis libcurl jansson lua5.4 libcrypto libssl sqlite3 ldap lber libpq
CFLAGS ?= -O2 -g
WARN := -std=c17 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla -Wno-unused-parameter
CPPFLAGS += -Iorchestrator $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread -lm
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE

SRC := $(sort $(wildcard orchestrator/*/*.c))
MAIN := orchestrator/cmd/main.c
LIBOBJ := $(patsubst orchestrator/%.c,$(BUILD)/obj/%.o,$(filter-out $(MAIN),$(SRC)))
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))

all: $(if $(wildcard $(MAIN)),$(BUILD)/tocsin,$(BUILD)/libtocsin.a)

$(BUILD)/obj/%.o: orchestrator/%.c
	@mkdir -p $(@D)
	$(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) $(HARDEN) -MMD -MP -c $< -o $@

$(BUILD)/libtocsin.a: $(LIBOBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/tocsin: $(BUILD)/obj/cmd/main.o $(BUILD)/libtocsin.a
	$(CC) $(CFLAGS) -pie $^ $(LDLIBS) -o $@

$(BUILD)/unit/%: tests/unit/%.c $(BUILD)/libtocsin.a
	@mkdir -p $(@D)
	$(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) -Itests/unit $< $(BUILD)/libtocsin.a $(LDLIBS) -lcmocka -o $@

unit: $(UNIT)
	@set -e; for t in $(UNIT); do echo "== $$t"; $$t; done

clean:
	rm -rf $(BUILD)

.PHONY: all unit clean
-include $(LIBOBJ:.o=.d)
