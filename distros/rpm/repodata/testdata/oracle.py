# Prints what the real dnf makes of repositories, for tests to compare with.
#
#   oracle.py packages DIR URL...
#       every package: its name, epoch, version, release, architecture and more, then
#       its dependencies, a line for each kind
#   oracle.py modules DIR PLATFORM STREAM,... URL...
#       what modular filtering leaves when streams are enabled
#   oracle.py groups DIR URL...
#       what installing each group and environment would install
#   oracle.py time DIR URL...
#       seconds of processor time of reading the packages of repositories that are already in the cache
#
# DIR is an empty directory for whatever dnf writes.
import sys
import time

import dnf
import libdnf.transaction
from dnf.module import module_base

KINDS = ("provides", "requires", "conflicts", "obsoletes", "recommends", "suggests", "supplements", "enhances")


def make(directory, urls, platform=None, hotfixes=True, cache=True):
    base = dnf.Base()
    conf = base.conf
    conf.installroot = directory + "/root"
    conf.cachedir = directory + "/cache"
    conf.persistdir = directory + "/persist"
    conf.logdir = directory
    conf.reposdir = []
    conf.pluginpath = []
    conf.substitutions["releasever"] = "9"
    conf.substitutions["arch"] = "x86_64"
    conf.substitutions["basearch"] = "x86_64"
    conf.optional_metadata_types = []
    conf.ignorearch = True
    if platform:
        conf.module_platform_id = platform
    for i, url in enumerate(urls):
        base.repos.add_new_repo("repository%d" % i, conf, baseurl=[url], module_hotfixes=hotfixes)
    base.fill_sack(load_system_repo=False)
    return base


def nevra(p):
    return "%s-%d:%s-%s.%s" % (p.name, p.e, p.v, p.r, p.a)


def packages(directory, *urls):
    for p in make(directory, urls).sack.query(flags=dnf.sack.hawkey.IGNORE_EXCLUDES).available():
        print(nevra(p), p.location, p.downloadsize, p.installsize, p.buildtime, p.sourcerpm, sep="|")
        for kind in KINDS:
            names = set(str(d) for d in getattr(p, kind))
            if kind == "requires":
                names |= set(str(d) for d in p.requires_pre)
            print(kind, *sorted(names), sep="|")


def modules(directory, platform, streams, *urls):
    base = make(directory, urls, platform, hotfixes=False)
    if streams:
        try:
            module_base.ModuleBase(base).enable(streams.split(","))
        except dnf.exceptions.MarkingErrors as e:
            # Defaults that cannot be are no reason to stop.
            if not e.module_depsolv_errors or e.no_match_group_specs or e.error_group_specs:
                raise
    print(*sorted(nevra(p) for p in base.sack.query().available()), sep="\n")


def groups(directory, *urls):
    base = make(directory, urls)
    base.read_comps(arch_filter=False)
    solver = base._build_comps_solver()
    types = libdnf.transaction.CompsPackageType_MANDATORY | libdnf.transaction.CompsPackageType_DEFAULT | libdnf.transaction.CompsPackageType_CONDITIONAL

    def show(spec, bunch):
        print(spec, *sorted(set(p.name + ("" if not p.requires else " if " + p.requires) for p in bunch.install)), sep="|")

    for g in base.comps.groups:
        show("@" + g.id, solver._group_install(g.id, types))
    for e in base.comps.environments:
        show("@^" + e.id, solver._environment_install(e.id, types))


def seconds(directory, *urls):
    make(directory, urls)
    for f in __import__("glob").glob(directory + "/cache/*.solv*"):
        __import__("os").remove(f)
    start = time.process_time()
    make(directory, urls)
    print(time.process_time() - start)


{"packages": packages, "modules": modules, "groups": groups, "time": seconds}[sys.argv[1]](*sys.argv[2:])
