"""Keys under a running daemon: who is added opens the next epoch, who is removed does not."""

from pathlib import Path
from signal import SIGHUP

from syncd.envelope.kem import Kem
from syncd.envelope.keys import Identity
from tests.e2e.application import Application
from tests.e2e.process import Zygote, assert_refused, running, succeeded, syncd


def test_people_come_and_go(application: Application, quick: Zygote) -> None:
    site = application.site
    config = ("--config", site.config)
    kit = application.scratch / "ann.txt"
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        options = ("--kit", kit, "--kem", "x25519", "--passphrase-file", site.passphrase)
        made = quick("keys", "generate", *options, *config)
        assert (made.code, made.out.split("-")[:3]) == (0, ["syncd", "recipient", "x25519"])
        ann = ("chat", "--identity", kit, "--passphrase-file", site.passphrase)
        assert_refused(quick("keys", "check", *ann, *config), 12, "is not for this identity")

        added = succeeded(quick("keys", "add", made.out.strip(), *config))
        assert "the daemon reads it again now" in added.out
        daemon.wait_for("config.reloaded")
        application.post("for Ann, too")
        site.wait_stored(application.truth())
        assert daemon.wait_for("epoch.started", 2)["recipients"] == 2
        succeeded(quick("snapshot", "chat", "--whole", *config))
        succeeded(quick("keys", "check", *ann, *config))
        restored = application.scratch / "ann.db"
        succeeded(quick("restore", *ann, "--to", restored, *config))
        assert restored.read_bytes() == application.truth().read_bytes()

        removed = succeeded(quick("keys", "remove", made.out.strip(), *config))
        assert "chat at local: epoch 2 of" in removed.out
        daemon.wait_for("config.reloaded", 2)
        application.post("not for Ann")
        site.wait_stored(application.truth())
        assert daemon.wait_for("epoch.started", 3)["recipients"] == 1
        assert_refused(quick("keys", "check", *ann, *config), 12, "the newest epoch, 3 of")
        assert_refused(quick("restore", *ann, "--to", application.scratch / "no.db", *config), 12, "epoch 3")
        succeeded(quick("keys", "check", "chat", *site.kit_options, *config))

        rotated = succeeded(quick("keys", "rotate", *config))
        assert rotated.out == "chat: epoch 4 begins\n"
        application.post("under a new epoch")
        site.wait_stored(application.truth())
        assert daemon.end().code == 0
    assert application.restored(quick) == application.truth().read_bytes()
    status = succeeded(quick("status", "--json", *config)).json
    assert status["databases"]["chat"]["jobs"]["keys check"]["ok"]


def test_the_daemon_refuses_what_others_could_change(application: Application) -> None:
    site = application.site
    site.config.chmod(0o666)
    assert_refused(syncd("run", "--once", "--config", site.config), 10, "others can change it")
    site.config.chmod(0o644)
    succeeded(syncd("run", "--once", "--config", site.config))
    with running(site.config) as daemon:
        daemon.wait_for("daemon.ready")
        site.config.chmod(0o664)
        daemon.send(SIGHUP)
        assert "others can change it" in daemon.wait_for("config.rejected")["error"]
        assert daemon.end().code == 0


def test_the_signing_key_may_be_a_credential(application: Application) -> None:
    site = application.site
    credentials = application.scratch / "credentials"
    credentials.mkdir()
    moved = site.signing_key.rename(credentials / "signing.key")
    moved.chmod(0o440)
    text = site.config.read_text().replace(str(site.signing_key), "credential:signing.key")
    site.config.write_text(text)
    assert_refused(syncd("run", "--once", "--config", site.config), 10, "CREDENTIALS_DIRECTORY")
    extra = {"CREDENTIALS_DIRECTORY": str(credentials)}
    succeeded(syncd("run", "--once", "--config", site.config, env=extra))
    moved.chmod(0o400)
    named = {"SYNCD_SIGNING_KEY_FILE": str(moved)}
    succeeded(syncd("run", "--once", "--config", site.config, env=named))


def test_no_secret_is_in_the_output(application: Application, quick: Zygote, tmp_path: Path) -> None:
    site = application.site
    config = ("--config", site.config)
    not_a_passphrase = ("--identity", site.kit, "--passphrase-file", site.signing_key)
    secrets = [site.signing_key.read_text().strip()[14:], site.passphrase.read_text().strip()]
    recipient = Identity.generate(Kem.X25519).recipient.to_text()
    with running(site.config) as daemon:
        site.wait_stored(application.truth())
        outcomes = [
            quick("keys", "list", *config),
            quick("keys", "add", recipient, *config),
            quick("keys", "check", "chat", *site.kit_options, *config),
            quick("keys", "check", "chat", "--identity", site.signing_key, *config),
            quick("keys", "check", "chat", *not_a_passphrase, *config),
            quick("keys", "add", site.signing_key, *config),
            quick("keys", "remove", recipient, *config),
            quick("keys", "generate", "--kit", tmp_path / "k", "--passphrase-file", site.passphrase, *config),
            daemon.end(),
        ]
    for outcome in outcomes:
        for secret in secrets:
            assert secret not in outcome.out + outcome.err
    assert [outcome.code for outcome in outcomes] == [0, 0, 0, 12, 12, 10, 0, 0, 0]
