# Tocsin: `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.
# Everything is built below $(BUILD); `make BUILD=/elsewhere` leaves the checkout untouched.

BUILD ?= build
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS ?= 60
ifeq ($(origin CC),default)
CC := gcc
endif

# pkg-config module and the Debian package that brings it.
DEPS := libevent=libevent-dev libevent_openssl=libevent-dev hiredis=libhiredis-dev libcurl=libcurl4-openssl-dev \
        jansson=libjansson-dev lua5.4=liblua5.4-dev libcrypto=libssl-dev libssl=libssl-dev sqlite3=libsqlite3-dev \
        ldap=libldap-dev lber=libldap-dev libpq=libpq-dev
PKGS := $(foreach d,$(DEPS),$(firstword $(subst =, ,$(d))))

CFLAGS ?= -O2 -g
HARDEN ?= -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
LINK ?= -pie -Wl,-z,relro,-z,now
WARN := -std=c17 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wpointer-arith -Wwrite-strings -Wvla -Wno-unused-parameter $(if $(findstring clang,$(CC)),,-Wno-format-truncation) $(WERROR)
VERSION := $(shell git describe --tags --always 2>/dev/null || echo unknown)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CPPFLAGS += -Iorchestrator -I$(BUILD)/gen $(PKG_CFLAGS)
LDLIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread -lm

# The auditor's program stands alone: nothing of it is in the library, nothing of the library is in it.
VERIFY := $(sort $(wildcard orchestrator/verify/*.c))
ROOMS ?= *
SRC := $(sort $(filter-out $(VERIFY),$(wildcard $(ROOMS:%=orchestrator/%/*.c))))
MAIN := orchestrator/cmd/main.c
LIBOBJ := $(patsubst orchestrator/%.c,$(BUILD)/obj/%.o,$(filter-out $(MAIN),$(SRC)))
# Text that C code carries inside: `static const char prelude[] = {` #include "script/prelude.lua.inc" `0};`
EMBED := $(patsubst orchestrator/%,$(BUILD)/gen/%.inc,$(wildcard orchestrator/*/*.lua orchestrator/*/*.sql orchestrator/*/*.css orchestrator/api/console/*))
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(sort $(wildcard tests/unit/test_*.c)))
BENCH := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(sort $(wildcard tests/bench/*.c)))
FUZZ := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzzers/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

# -g1: functions and lines are all that a report of these needs, and it builds faster.
ASAN = $(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/asan HARDEN=-fPIE \
       CFLAGS='-O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined'
CLANG = $(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/clang CC=clang
# Only what the fuzzers reach, to be built in half the time.
FUZZER = $(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/fuzz CC=clang HARDEN= LINK= ROOMS='action base evidence intake journal route script transport wire' \
         CFLAGS='-O1 -g1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address'
AGAIN = $(MAKE) --no-print-directory -j$(JOBS)

all: $(if $(wildcard $(MAIN)),$(BUILD)/tocsin,$(BUILD)/libtocsin.a) $(BUILD)/tocsin-verify

# ---- compiling

# `make V=1` shows whole commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo '$(1)')

# One line for each library that is not there, with the package to install; nothing when all are.
deps:
	@pkg-config --version >/dev/null 2>&1 || { echo "missing: pkg-config   (Debian: apt-get install pkg-config)"; exit 1; }
	@pkg-config --exists $(PKGS) && exit 0; \
	for d in $(DEPS); do pkg-config --exists $${d%%=*} || echo "missing: $${d%%=*}   (Debian: apt-get install $${d#*=})"; done; \
	echo "or let the installer do it: tests/install build"; exit 1

FLAGS = $(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) $(HARDEN)
# Rewritten only when a flag has changed, so that objects of two kinds never mix in one folder.
$(BUILD)/.flags: FORCE | deps
	@mkdir -p $(@D)
	@printf '%s\n' "$(subst ",,$(FLAGS))" | cmp -s - $@ || printf '%s\n' "$(subst ",,$(FLAGS))" > $@

# For `#include "build.h"`: what this build is called and where its share folder will be.
$(BUILD)/gen/build.h: FORCE
	@mkdir -p $(@D)
	@printf '#define TOCSIN_VERSION "%s"\n#define TOCSIN_SHARE "%s"\n' '$(VERSION)' '$(PREFIX)/share/tocsin' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(BUILD)/gen/%.inc: orchestrator/%
	@mkdir -p $(@D)
	@od -An -v -tu1 $< | sed 's/[0-9][0-9]*/&,/g' > $@.tmp && mv $@.tmp $@

$(BUILD)/obj/%.o: orchestrator/%.c $(BUILD)/.flags | $(EMBED) $(BUILD)/gen/build.h
	@mkdir -p $(@D)
	$(call say,CC $@)
	$(Q)$(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) $(HARDEN) -MMD -MP -c $< -o $@

$(BUILD)/libtocsin.a: $(LIBOBJ)
	@rm -f $@
	$(call say,AR $@)
	$(Q)ar rcs $@ $^

$(BUILD)/tocsin: $(BUILD)/obj/cmd/main.o $(BUILD)/libtocsin.a
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $(LINK) $^ $(LDLIBS) -o $@

$(BUILD)/tocsin-verify: $(VERIFY) $(wildcard orchestrator/verify/*.h) $(BUILD)/.flags
	$(call say,CC $@)
	$(Q)$(CC) $(WARN) -Iorchestrator $(CFLAGS) $(HARDEN) $(LINK) $(VERIFY) -lcrypto -o $@

# -O0: the test's own lines are built in half the time; what they test is built as ever.
$(BUILD)/unit/%: tests/unit/%.c $(BUILD)/libtocsin.a
	@mkdir -p $(@D)
	$(call say,CC $@)
	$(Q)$(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) -O0 -Itests/unit -MMD -MP -MF $@.d -MT $@ $< $(BUILD)/libtocsin.a $(LINK_ONLY) $(LDLIBS) -lcmocka -o $@

# It asks both verifiers, the auditor's through a door for many questions.
$(BUILD)/unit/test_tamper $(BUILD)/unit/test_tamper_bundle $(BUILD)/unit/test_seal_faults: | $(BUILD)/verify-many
# It is started for each system call of a seal: without libraries that it does not use.
$(BUILD)/unit/test_seal_faults: private LINK_ONLY := -Wl,--as-needed
$(BUILD)/verify-many: tests/unit/verify_many.c $(VERIFY) $(wildcard orchestrator/verify/*.h) $(BUILD)/.flags
	$(call say,CC $@)
	$(Q)$(CC) $(WARN) -Iorchestrator $(CFLAGS) $(HARDEN) $(LINK) $< -lcrypto -o $@

$(BUILD)/bench/%: tests/bench/%.c $(BUILD)/libtocsin.a
	@mkdir -p $(@D)
	$(call say,CC $@)
	$(Q)$(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) -MMD -MP -MF $@.d -MT $@ $< $(BUILD)/libtocsin.a $(LDLIBS) -o $@

# Stands before libcurl in the bench's engine.
$(BUILD)/bench/preload/curl.so: tests/bench/preload/curl.c $(BUILD)/.flags
	@mkdir -p $(@D)
	$(call say,CC $@)
	$(Q)$(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) -fPIC -shared $< -o $@

# Stands before libc in an engine whose clock is set.
$(BUILD)/chaos/clock.so: tests/chaos/preload/clock.c $(BUILD)/.flags
	@mkdir -p $(@D)
	$(call say,CC $@)
	$(Q)$(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) -fPIC -shared $< -o $@

$(BUILD)/fuzzers/%: tests/fuzz/%.c $(BUILD)/libtocsin.a
	@mkdir -p $(@D)
	$(call say,CC $@)
	$(Q)$(CC) $(WARN) -Wno-missing-prototypes $(CPPFLAGS) $(CFLAGS) -fsanitize=fuzzer,address -MMD -MP -MF $@.d -MT $@ $< $(BUILD)/libtocsin.a $(LDLIBS) -o $@

# ---- what people call

demo:
	@tests/install demo
	@$(AGAIN) all
	@KEEP='$(KEEP)' TOCSIN_BUILD='$(BUILD)' tests/demo/run

demo-tabletop:
	@tests/install demo
	@$(AGAIN) all
	@TOCSIN_BUILD='$(BUILD)' tests/demo/tabletop

test:
	@tests/install test
	@$(AGAIN) all units
	@$(ASAN) units
	@$(FUZZER) fuzzers
	@FUZZ_SECONDS=$(if $(filter file,$(origin FUZZ_SECONDS)),7,$(FUZZ_SECONDS)) TOCSIN_BUILD='$(BUILD)' tests/run_tests $(ONLY)

# The copy in a bucket on a real Ceph radosgw with object lock. Once its packages are there, `make test` runs it with the rest.
test-radosgw:
	@tests/install radosgw
	@$(AGAIN) all
	@TOCSIN_BUILD='$(BUILD)' tests/run_tests radosgw

check:
	@TOCSIN_BUILD='$(BUILD)' MAKE='$(MAKE)' JOBS='$(JOBS)' tests/check/run

unit: $(UNIT)
	@set -e; for t in $(UNIT); do echo "== $$t"; $$t; done

units: $(UNIT)
benches: $(BENCH) $(BUILD)/bench/preload/curl.so
fuzzers: $(FUZZ)

# The whole of it under AddressSanitizer and UndefinedBehaviorSanitizer, or by clang.
asan:
	@$(ASAN) all unit
clang:
	@$(CLANG) all units

fuzz:
	@$(FUZZER) fuzzers
	@FUZZ_SECONDS='$(FUZZ_SECONDS)' TOCSIN_BUILD='$(BUILD)' tests/run_tests fuzz

bench:
	@$(AGAIN) all benches
	@TOCSIN_BUILD='$(BUILD)' tests/bench/run

# Kills, stops and cuts whatever it can, counts what really happened; then again under sanitizers, and with a clock that is set. CHAOS_SEED=… repeats a run.
chaos:
	@tests/install test
	@$(AGAIN) all $(BUILD)/chaos/clock.so $(BUILD)/unit/test_seal_faults
	@$(ASAN) all
	@TOCSIN_BUILD='$(BUILD)' CHAOS_SEED='$(CHAOS_SEED)' CHAOS_ALERTS='$(CHAOS_ALERTS)' tests/chaos/run

install: all
	install -D -m 755 $(BUILD)/tocsin $(DESTDIR)$(PREFIX)/bin/tocsin
	install -D -m 755 $(BUILD)/tocsin-verify $(DESTDIR)$(PREFIX)/bin/tocsin-verify
	@for d in connectors playbooks runbooks; do \
	  [ -d $$d ] || continue; \
	  find $$d -type f ! -name '*_test.lua' | while read -r f; do to="$(DESTDIR)$(PREFIX)/share/tocsin/$$f"; \
	    case $$f in *.csv) [ ! -e "$$to" ] || continue ;; esac; install -D -m 644 "$$f" "$$to"; done; \
	done
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERSDIR)
	sed 's|@PREFIX@|$(PREFIX)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g' orchestrator/tocsin.service > $(DESTDIR)$(UNITDIR)/tocsin.service
	chmod 644 $(DESTDIR)$(UNITDIR)/tocsin.service
	install -m 644 orchestrator/tocsin.sysusers $(DESTDIR)$(SYSUSERSDIR)/tocsin.conf
	install -D -m 644 orchestrator/tocsin.1 $(DESTDIR)$(PREFIX)/share/man/man1/tocsin.1

clean:
	rm -rf $(BUILD)

# Rewrites every C file as `make check` wants it.
format:
	find orchestrator tests -name "*.[ch]" | xargs clang-format --style=file -i

help:
	@echo 'make demo [KEEP=1]    install what is missing, build, play the whole story on real servers'
	@echo 'make demo-tabletop    two hours of an exercise in half a minute, its report and its bundle'
	@echo 'make test [ONLY=…]    install what is missing, build, run every test (ONLY: unit, asan, lua, e2e, fuzz or a part of a name)'
	@echo 'make test-radosgw     the copy in a bucket, on a real Ceph radosgw with object lock (67 MB of packages)'
	@echo 'make                  build $(BUILD)/tocsin'
	@echo 'make unit             C unit tests only'
	@echo 'make check            style, includes, banned calls, Lua, gcc and clang without a warning'
	@echo 'make format           rewrite the C files in the style that check wants'
	@echo 'make asan | clang     the same build under sanitizers | by clang'
	@echo 'make fuzz             each fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS) of CPU time'
	@echo 'make chaos            nothing lost, nothing done twice: the engine killed everywhere; table in $(BUILD)/chaos.tsv'
	@echo 'make bench            numbers, also written to $(BUILD)/bench.tsv; BENCH_ENTRIES=10000000: an evidence log of that size, not of a million'
	@echo 'make install          PREFIX=$(PREFIX) DESTDIR= UNITDIR=$(UNITDIR)'
	@echo 'make clean            remove $(BUILD)'

FORCE:
.PHONY: all deps demo demo-tabletop test test-radosgw check format unit units benches fuzzers asan clang fuzz bench chaos install clean help FORCE
.SECONDARY: $(EMBED)
-include $(LIBOBJ:.o=.d) $(BUILD)/obj/cmd/main.d $(UNIT:=.d) $(BENCH:=.d) $(FUZZ:=.d)
