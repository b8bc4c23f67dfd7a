"""The way of people to the clinic: names by Route 53, load balancers and CDN by their settings, tasks and buckets.

Nothing of it is a network. A request to the edge's port with the clinic's name in `Host` (or `X-Clinic-Host`) is led
where the account's records, listeners, weights, targets and origins say, and is answered as what stands there would.
"""

from __future__ import annotations

import json
import random
import time
import typing as t

from codeblue.lab.aws.server.behaviour import backend
from codeblue.lab.aws.server.conditions import Conditions
from codeblue.lab.aws.server.objects import is_public, read_object
from codeblue.lab.aws.server.routing import Unresolved, chosen_action, resolve
from codeblue.lab.aws.server.signals import DATABASE_PREFIX, PREFIX, Monitoring
from codeblue.lab.aws.server.targets import state_of

_DEEP = "/deep"
_MOST_CACHED = 1000

Reply = tuple[int, dict[str, str], bytes]


class Traffic:
    """WSGI: answers as the clinic does."""

    def __init__(self, conditions: Conditions, regions: t.Sequence[str], monitoring: Monitoring) -> None:
        self._conditions = conditions
        self._monitoring = monitoring
        self._regions = regions
        # What the CDN keeps until it is told otherwise, by distribution and path.
        self._cache: dict[tuple[str, str], Reply] = {}

    def __call__(self, environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> t.Iterable[bytes]:
        host = (environ.get("HTTP_X_CLINIC_HOST") or environ.get("HTTP_HOST", "")).partition(":")[0]

        def ask(path: str) -> Reply:
            if path.startswith(PREFIX):
                signal, _, service = path.removeprefix(PREFIX).partition("/")
                return self._monitoring.signal(signal, service)
            if path.startswith(DATABASE_PREFIX):
                return self._monitoring.database(path.removeprefix(DATABASE_PREFIX))
            return self.ask(host, path)

        return self._reply(environ, start_response, ask)

    def front(self, region: str) -> t.Callable[..., t.Iterable[bytes]]:
        """WSGI: answers as the load balancer of a region, whatever name it is asked by."""

        def ask(path: str) -> Reply:
            balancer = next(iter(backend("elbv2", region).load_balancers.values()), None)
            if region in self._conditions.closed_regions or balancer is None:
                return _text(504, f"{region} does not answer")
            return self._of_balancer(region, balancer, path)

        return lambda environ, start_response: self._reply(environ, start_response, ask)

    def _reply(
        self, environ: dict[str, t.Any], start_response: t.Callable[..., t.Any], ask: t.Callable[[str], Reply]
    ) -> t.Iterable[bytes]:
        with self._conditions.world:
            status, headers, body = ask(environ.get("PATH_INFO", "/"))
        time.sleep(float(headers.pop("X-Seconds", "0")))
        sent = [*headers.items(), ("Content-Length", str(len(body)))]
        start_response(f"{status} {'OK' if status < 400 else 'Error'}", sent)
        return [body]

    def ask(self, host: str, path: str) -> Reply:
        """The answer that a person gets."""
        try:
            kind, region, target = resolve(host, self._regions)
        except Unresolved as error:
            return _text(502, f"{host}: {error}")
        if kind == "bucket":
            return self._of_bucket(target, path, region)
        if kind == "distribution":
            return self._of_distribution(target, path)
        if region in self._conditions.closed_regions:
            return _text(504, f"{region} does not answer")
        return self._of_balancer(region, target, path)

    def states(self) -> dict[str, str]:
        """How services are, for `codeblue lab status`: by region and name."""
        found = {}
        with self._conditions.world:
            for region in self._regions:
                for service in backend("ecs", region).services.values():
                    definition = str(service.task_definition).rpartition("/")[2]
                    state = service.deployments[0]["rolloutState"].lower() if service.deployments else "gone"
                    count = f"{service.running_count} of {service.desired_count} tasks run"
                    found[f"{region}/{service.name}"] = f"{count}, {definition} ({state})"
        return found

    def _of_balancer(self, region: str, balancer: t.Any, path: str) -> Reply:
        action = chosen_action(balancer, region, path)
        if action is None:
            return _text(503, "no listener")
        if action["Type"] == "fixed-response":
            fixed = action["FixedResponseConfig"]
            kind = {"Content-Type": fixed.get("ContentType") or "text/plain", "X-Region": region, "X-By": "fixed"}
            return int(fixed["StatusCode"]), kind, (fixed.get("MessageBody") or "").encode()
        groups = backend("elbv2", region).target_groups
        weighted = action.get("ForwardConfig", {}).get("TargetGroups") or [{"TargetGroupArn": action["TargetGroupArn"]}]
        weights = [float(each.get("Weight", 1)) for each in weighted]
        if not any(weights):
            return _text(503, "no target group has a weight")
        group = groups.get(random.choices(weighted, weights)[0]["TargetGroupArn"])
        healthy = [each for each in (group.targets if group else ()) if state_of(group, each)[0] == "healthy"]
        if not healthy:
            return _text(503, "no healthy target", {"X-Region": region})
        return self._of_task(region, random.choice(healthy), path)

    def _of_task(self, region: str, address: str, path: str) -> Reply:
        task = backend("ecs", region).task_at(address)
        status, text = task.answer(path.endswith(_DEEP))
        name = task.moto.group.partition(":")[2]
        seconds = task.seconds + self._conditions.latencies.get((region, name), 0.0)
        if random.random() < self._conditions.error_rates.get((region, name), 0.0):
            status, text = 500, "an error that the lab was told to make"
        body = {"service": name, "region": region, "version": task.tag, "status": text}
        headers = {"Content-Type": "application/json", "X-Region": region, "X-Version": task.tag}
        return status, {**headers, "X-Seconds": f"{seconds:.3f}"}, json.dumps(body).encode()

    def _of_bucket(self, name: str, path: str, region: str) -> Reply:
        if region in self._conditions.closed_regions:
            return _text(504, f"{region} does not answer")
        if not is_public(name):
            return _text(403, "AccessDenied")
        body = read_object(name, path.lstrip("/"))
        return _text(404, "NoSuchKey") if body is None else (200, {"X-Region": region}, body)

    def _of_distribution(self, distribution: t.Any, path: str) -> Reply:
        from codeblue.lab.aws.server.cdn import fetch, forget_invalidated

        forget_invalidated(distribution, self._cache)
        known = self._cache.get((distribution.distribution_id, path))
        if known is not None:
            return known[0], {**known[1], "X-Cache": "Hit from cloudfront"}, known[2]
        reply = fetch(distribution, path, self._conditions.closed_regions, self.ask)
        if reply[0] == 200 and len(self._cache) < _MOST_CACHED:
            self._cache[distribution.distribution_id, path] = reply
        return reply[0], {**reply[1], "X-Cache": "Miss from cloudfront"}, reply[2]


def _text(status: int, text: str, headers: t.Mapping[str, str] | None = None) -> Reply:
    return status, {"Content-Type": "text/plain", **(headers or {})}, f"{text}\n".encode()
