"""redis, postgresql and nginx as they come from Debian, each in a machine of its own."""

import os
import pwd
import shutil
import signal
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.supervised import Supervised
from tests.support.waiting import wait_gone

pytestmark = pytest.mark.slow

KINDS = ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time")

REDIS = """
command = ["redis-server", "{data}/redis.conf"]
[readiness]
method = "notify"
[sandbox]
binds = ["{data}"]
"""
REDIS_CONF = """
dir {data}
bind 127.0.0.1
supervised systemd
appendonly yes
appendfsync always
"""

POSTGRES_INIT = """
type = "oneshot"
user = "postgres"
command = ["{bin}/initdb", "--no-locale", "--encoding=UTF8", "--no-sync", "--auth=trust", "{data}/cluster"]
[sandbox]
binds = ["{data}"]
"""
POSTGRES = """
user = "postgres"
command = ["{bin}/postgres", "-D", "{data}/cluster", "-k", "/tmp", "-c", "listen_addresses=127.0.0.1"]
[depends_on.postgres-init]
condition = "completed"
[readiness]
method = "notify"
[stop]
signal = "INT"
[sandbox]
binds = ["{data}"]
"""

NGINX = """
command = ["nginx", "-e", "stderr", "-c", "{data}/nginx.conf"]
{depends}
[sandbox]
binds = ["{data}:{data}:ro"]
"""
NGINX_CONF = """
daemon off;
user {user};
pid /tmp/nginx.pid;
events {{}}
http {{
    access_log /dev/stdout;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {{
        listen 127.0.0.1:8080;
        root {data};
    }}
}}
"""
GET = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080/').read().decode())"


def needs(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def add_redis(machine):
    needs("redis-server", "redis-cli")
    runner = machine.runner
    data = runner.write("data/redis/redis.conf", REDIS_CONF.format(data=runner.directory / "data/redis")).parent
    machine.service("redis", REDIS.format(data=data))


def add_nginx(machine, after):
    needs("nginx")
    runner = machine.runner
    user = "www-data" if runner.account.is_root else "root"
    data = runner.write("data/nginx/index.html", "the front page").parent
    runner.write("data/nginx/nginx.conf", NGINX_CONF.format(data=data, user=user))
    depends = "\n".join(f"[depends_on.{name}]" for name in after)
    machine.service("nginx", NGINX.format(data=data, depends=depends))


def add_postgres(machine):
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not versions:
        pytest.skip("not installed: postgresql")
    runner = machine.runner
    data = runner.directory / "data/postgres"
    data.mkdir(parents=True)
    owner = pwd.getpwnam("postgres")
    os.chown(data, owner.pw_uid, owner.pw_gid)
    machine.service("postgres-init", POSTGRES_INIT.format(bin=versions[-1].parent, data=data))
    machine.service("postgres", POSTGRES.format(bin=versions[-1].parent, data=data))


def redis_cli(machine, *words):
    result = machine.ask("exec", "redis", "--", "redis-cli", *words)
    assert result.status == 0, result
    return result.stdout.strip()


def front_page(machine):
    result = machine.ask("exec", "nginx", "--", "python3", "-Ic", GET)
    assert result.status == 0, result
    return result.stdout.strip()


def psql(machine, query):
    result = machine.ask("exec", "postgres", "--", "psql", "-h", "/tmp", "-At", "-c", query)
    assert result.status == 0, result
    return result.stdout.strip()


def namespaces_of(pid):
    return {kind: processes.namespace(pid, kind) for kind in KINDS}


def check_namespaces(machine, names):
    """Every service has eight namespaces that neither the host nor the supervisor nor another service has."""
    services = machine.services()
    seen = [namespaces_of(os.getpid())]
    (supervisor,) = processes.children(machine.process.pid)
    for pid in (supervisor, *(services[name]["host_pid"] for name in names)):
        mine = namespaces_of(pid)
        for other in seen:
            assert not set(mine.values()) & set(other.values())
        seen.append(mine)


def kill_and_see_it_back(machine, name):
    before = machine.services()[name]
    os.kill(before["host_pid"], signal.SIGKILL)
    wait_gone(before["host_pid"])
    machine.expect("service.ready", name, timeout_s=60)
    after = machine.services()[name]
    assert after["state"] == "ready"
    assert after["restarts"] == before["restarts"] + 1
    assert after["host_pid"] != before["host_pid"]


def stop_in_order(machine, first, then):
    everyone = processes.descendants(machine.process.pid)
    assert machine.stop(timeout_s=60) == 0
    stopped = [event["service"] for event in machine.events if event["event"] == "service.stopped"]
    assert stopped[0] == first
    assert sorted(stopped[1:]) == sorted(then)
    wait_gone(everyone, timeout_s=0)
    assert list((machine.runner.directory / "run").iterdir()) == []


def test_redis_and_nginx_live_die_and_come_back(nsinit):
    machine = Supervised(nsinit)
    add_redis(machine)
    add_nginx(machine, after=["redis"])
    with machine:
        machine.expect("service.ready", "redis", timeout_s=60)
        machine.expect("service.ready", "nginx", timeout_s=60)
        check_namespaces(machine, ["redis", "nginx"])

        assert redis_cli(machine, "SET", "greeting", "hello") == "OK"
        assert front_page(machine) == "the front page"
        for name in ("redis", "nginx"):
            kill_and_see_it_back(machine, name)
        assert redis_cli(machine, "GET", "greeting") == "hello"
        assert front_page(machine) == "the front page"

        stop_in_order(machine, first="nginx", then=["redis"])


def test_three_servers_live_die_and_come_back_as_root(nsinit_as_root):
    machine = Supervised(nsinit_as_root)
    add_redis(machine)
    add_postgres(machine)
    add_nginx(machine, after=["redis", "postgres"])
    with machine:
        machine.expect("service.completed", "postgres-init", timeout_s=120)
        machine.expect("service.ready", "postgres", timeout_s=60)
        machine.expect("service.ready", "nginx", timeout_s=60)
        check_namespaces(machine, ["redis", "postgres", "nginx"])

        assert redis_cli(machine, "SET", "greeting", "hello") == "OK"
        assert psql(machine, "create table t (x int); insert into t values (7)") == "CREATE TABLE\nINSERT 0 1"
        assert psql(machine, "select current_user") == "postgres"
        assert front_page(machine) == "the front page"
        for name in ("redis", "postgres", "nginx"):
            kill_and_see_it_back(machine, name)
        assert redis_cli(machine, "GET", "greeting") == "hello"
        assert psql(machine, "select x from t") == "7"
        assert front_page(machine) == "the front page"

        stop_in_order(machine, first="nginx", then=["redis", "postgres"])
