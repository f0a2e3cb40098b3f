"""Users of a real server, and what AWS's policies mean.

- `as_user` makes a user with a policy on a server that enforces it (SeaweedFS).
- `allowed` decides as AWS documents it: a Deny that matches wins, else an Allow that matches, else nothing.
  It knows what `syncd policy` prints and fails on anything else. No server at hand knows the condition key
  s3:if-none-match; this is a model of the one that does, put before a server by `tests.support.gateway`.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from fnmatch import fnmatchcase
from typing import Any

import botocore.session

from tests.support.servers import ACCESS_KEY, SECRET_KEY, S3Server

Policy = Mapping[str, Any]


def as_user(server: S3Server, name: str, policy: Policy) -> dict[str, str]:
    """The environment of a process that is this user."""
    with closing(
        botocore.session.Session().create_client(
            "iam",
            region_name="us-east-1",
            endpoint_url=server.endpoint_url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )
    ) as client:
        client.create_user(UserName=name)
        key = client.create_access_key(UserName=name)["AccessKey"]
        client.put_user_policy(UserName=name, PolicyName="syncd", PolicyDocument=json.dumps(policy))
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def allowed(policies: Iterable[Policy], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether a request may be made. `context` has the values of condition keys; what is absent is absent."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if _matches(statement, action, resource, context)
    }
    return effects == {"Allow"}


def denied(policy: Policy, action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether a policy, such as a bucket's, forbids a request, whoever allows it."""
    return any(
        statement["Effect"] == "Deny" and _matches(statement, action, resource, context)
        for statement in policy["Statement"]
    )


def _matches(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    known = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    assert set(statement) <= known
    assert statement.get("Principal", "*") == "*"
    return (
        any(fnmatchcase(action, pattern) for pattern in _several(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in _several(statement["Resource"]))
        and all(
            _holds(operator, context.get(key), _several(wanted))
            for operator, tests in statement.get("Condition", {}).items()
            for key, wanted in tests.items()
        )
    )


def _holds(operator: str, value: str | None, wanted: list[str]) -> bool:
    match operator:
        case "Null":
            return (value is None) == (wanted == ["true"])
        case "Bool":
            return value is not None and value in wanted
        case "StringLike":
            return value is not None and any(fnmatchcase(value, pattern) for pattern in wanted)
        case _:
            raise AssertionError(operator)


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
