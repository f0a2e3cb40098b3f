"""With which credentials a target is reached: those of the writer, or the pruner's and the restorer's own.

- Credentials are profiles of the AWS configuration, never values; a role without one uses the target's.
- The writer's store of a target is also that of the other roles, where they have no profile.
"""

from dataclasses import dataclass

from syncd.config import Target
from syncd.errors import StoreRefused, SyncdError
from syncd.store import Store, open_store, prefixed
from syncd.store.iam import Role


@dataclass(frozen=True, slots=True)
class Access:
    """One target, as each role reaches it."""

    writer: Store
    pruner: Store
    restorer: Store

    def below(self, prefix: str) -> "Access":
        """The same below `prefix`, a directory with its slash."""
        return Access(
            prefixed(self.writer, prefix), prefixed(self.pruner, prefix), prefixed(self.restorer, prefix)
        )

    async def close(self) -> None:
        """Close every store that is not another role's as well."""
        for store in {id(s): s for s in (self.writer, self.pruner, self.restorer)}.values():
            await store.close()


def profile_of(target: Target, role: Role) -> str:
    """The profile of the AWS configuration that `role` uses; empty is the default one."""
    own = {Role.WRITER: "", Role.PRUNER: target.pruner.profile, Role.RESTORER: target.restorer.profile}
    return own[role] or target.profile


def open_target(target: Target, role: Role, *, helped: bool = False) -> Store:
    """The target with the credentials of `role`. Sends nothing. Raises ConfigError.

    `helped`: see `open_store`.
    """
    return open_store(
        target.url,
        endpoint_url=target.endpoint_url,
        region=target.region,
        profile=profile_of(target, role),
        timeout=target.timeout,
        helped=helped,
    )


def open_access(target: Target) -> Access:
    """The target for every role. Sends nothing. Raises ConfigError."""
    writer = open_target(target, Role.WRITER)

    def store(role: Role) -> Store:
        return writer if profile_of(target, role) == target.profile else open_target(target, role)

    return Access(writer, store(Role.PRUNER), store(Role.RESTORER))


def explained(error: SyncdError, target: str, role: Role) -> SyncdError:
    """`error` as the failure of a job of `role`; where credentials may be why, it says which it needs."""
    if not isinstance(error, StoreRefused):
        return error
    elsewhere = ', or prune elsewhere and set [retention] schedule = ""' if role is Role.PRUNER else ""
    return SyncdError(
        f"{error.message}; the {role} needs [targets.{target}.{role}] with a profile that may do what"
        f" `syncd policy {role}` prints{elsewhere}",
        hint=error.hint,
    )
