"""Solves package sets with dnf. Reads one JSON object from standard input:
{"root": DIR, "repositories": [{"name", "url", "priority"}], "architectures": those whose packages are not
excluded, "sets": [{"install": [...], "exclude": [...], "weak": bool}]} and writes one JSON object per set:
{"packages": ["name-[epoch:]version-release.arch", ...]} or {"error": text}. The first line is
{"load": seconds}, and each further one has "seconds"."""
import json
import os
import sys
import time

import dnf

request = json.load(sys.stdin)
start = time.time()
for dir in ["root", "cache", "persist", "log"]:
    os.mkdir(os.path.join(request["root"], dir))
base = dnf.Base()
conf = base.conf
conf.installroot = request["root"] + "/root"
conf.cachedir = request["root"] + "/cache"
conf.persistdir = request["root"] + "/persist"
conf.logdir = request["root"] + "/log"
conf.reposdir = []
conf.pluginpath = []
conf.varsdir = []
conf.substitutions["releasever"] = "9"
conf.module_platform_id = "platform:el9"
conf.gpgcheck = False
for r in request["repositories"]:
    base.repos.add_new_repo(r["name"], conf, baseurl=[r["url"]], priority=r["priority"])
base.fill_sack(load_system_repo=True)


def exclude(set):
    sack = base.sack
    sack.reset_excludes()
    sack.add_excludes(sack.query().filter(arch__neq=request["architectures"]))
    for spec in set.get("exclude") or []:
        query = dnf.subject.Subject(spec).get_best_query(sack, with_nevra=True, with_provides=False, with_filenames=False)
        sack.add_excludes(query)


print(json.dumps({"load": time.time() - start}), flush=True)
for set in request["sets"]:
    start = time.time()
    answer = {}
    try:
        base.reset(goal=True)
        exclude(set)
        conf.install_weak_deps = set["weak"]
        for spec in set["install"]:
            base.install(spec)
        base.resolve()
        answer["packages"] = sorted(str(p) for p in base.transaction.install_set)
    except dnf.exceptions.Error as e:
        answer["error"] = str(e)
    answer["seconds"] = time.time() - start
    print(json.dumps(answer), flush=True)
