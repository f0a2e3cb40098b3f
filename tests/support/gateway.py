"""A gateway before a real S3 server that enforces a bucket's policy, with the condition key s3:if-none-match.

- It stands for the part of Amazon S3 that no server at hand has; users' own policies are the server's matter.
- It ends TLS, so to say: what arrives on loopback counts as secure.
- A request that the policy denies is answered like S3 does, and is not passed on.
"""

from urllib.parse import parse_qs, unquote, urlsplit

from typing_extensions import override

from tests.support.http1 import Message, made_answer
from tests.support.httpproxy import HttpProxy, Upstream
from tests.support.iam import Policy, denied

_ACTIONS = {"PUT": "s3:PutObject", "POST": "s3:PutObject", "GET": "s3:GetObject", "DELETE": "s3:DeleteObject"}
_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied by the bucket's policy</Message></Error>"


class Gateway(HttpProxy):
    """`async with Gateway(port, policy) as gateway:` listens at `gateway.url`."""

    def __init__(self, port: int, policy: Policy) -> None:
        super().__init__(port)
        self._policy = policy
        self.refused: list[str] = []
        self.created: list[str] = []

    @override
    async def answer_to(self, request: Message, upstream: Upstream) -> tuple[Message, bool]:
        parts = urlsplit(request.target)
        resource = f"arn:aws:s3:::{unquote(parts.path).removeprefix('/')}"
        if denied(self._policy, _ACTIONS[request.method], resource, _context(request, parts.query)):
            self.refused.append(f"{request.method} {request.target}")
            return made_answer(403, "Forbidden", _DENIED, "Content-Type: application/xml"), True
        if request.method == "PUT":
            self.created.append(parts.path)
        return await super().answer_to(request, upstream)


def _context(request: Message, query: str) -> dict[str, str]:
    context = {"aws:SecureTransport": "true"}
    # An upload in parts is created by its completion; that, and a plain put, is what the condition is for.
    steps = parse_qs(query, keep_blank_values=True).keys()
    if request.method in {"PUT", "POST"}:
        context["s3:ObjectCreationOperation"] = str(not steps & {"uploads", "partNumber"}).lower()
    if condition := request.header("if-none-match"):
        context["s3:if-none-match"] = condition
    return context
