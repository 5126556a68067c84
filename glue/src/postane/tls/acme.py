"""Talk with an authority in ACME (RFC 8555): the one doorway to the library `acme`.

Blocking: a caller in an event loop uses threads, each with an `Authority` of its own. What goes wrong is one of four
things: the authority is away (ServiceMissingError), it wants us to slow down (RateLimitedError), it will not have these
names (NamesRefusedError), or it will not have us or the order as a whole (RefusedError, ConfigError).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.interfaces import JSONDeSerializable
from josepy.json_util import field
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC
from josepy.util import ComparableECKey

from postane.core.errors import ConfigError, PermanentError, PostaneError, ServiceMissingError, TemporaryError
from postane.storage.durable import write_file
from postane.storage.ownership import hand_over
from postane.tls.schedule import Window

HTTP, DNS = "http-01", "dns-01"
CLOCK = 3600.0  # seconds by which a clock may be wrong before nothing is ordered by it
_NONCES = 8  # tries with a fresh nonce, where the authority refuses one (RFC 8555 section 6.5)
_SLOW = 2.0  # seconds between two questions about an order, at most


class RefusedError(PermanentError):
    """The authority does not do it, and says why."""


class NamesRefusedError(RefusedError):
    """The authority does not have some names. `names`: each with its words."""

    def __init__(self, names: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in sorted(names.items())))
        self.names = dict(names)


class RateLimitedError(TemporaryError):
    """Too much was asked for. `wait` in seconds, 0 where the authority does not say."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message, hint="what waits is asked for later by itself: postane certificate list")
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Place:
    """An authority and how it is met. `bundle`: PEM file with its roots, "" the system's; `seconds` for one step."""

    directory: str
    email: str = ""
    bundle: str = ""
    external_account: str = ""
    agent: str = "postane"
    seconds: float = 90.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What the authority wants to see for one name: a file by HTTP, or a TXT record at `_acme-challenge.<name>`.

    `name` is without the "*." of a wildcard. `http` is (token, text), None where it does not take it; `dns` the text,
    "" likewise.
    """

    name: str
    wildcard: bool
    http: tuple[str, str] | None
    dns: str
    at: int  # among the order's authorizations


class Order:
    """An order under way. `proofs`: what is still to be proved."""

    def __init__(self, resource: messages.OrderResource, proofs: Sequence[Proof]) -> None:
        self.resource = resource
        self.proofs = tuple(proofs)


class _NewOrder(messages.NewOrder):
    """With what it takes the place of (RFC 9773 section 5)."""

    replaces: str = field("replaces", omitempty=True)


class _Network(client.ClientNetwork):
    """Remembers what the last answer said of time, and does not give up at the second nonce."""

    def __init__(self, place: Place, key: JWK, account: messages.RegistrationResource | None) -> None:
        bundle = place.bundle or ssl.get_default_verify_paths().cafile
        timeout = math.ceil(place.seconds)
        super().__init__(key, account, ES256, bundle or True, place.agent, timeout)  # type: ignore[arg-type]  # or a file
        self.retry_after = 0.0
        self.skew: float | None = None  # seconds by which the authority's clock is ahead of ours
        self.session.hooks["response"].append(self._hear)

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for left in reversed(range(_NONCES)):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if _code(error) != "badNonce" or not left:
                    raise
        raise AssertionError

    def _hear(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.retry_after = _seconds(response.headers.get("Retry-After", ""))
        with suppress(ValueError, TypeError):
            self.skew = parsedate_to_datetime(response.headers.get("Date", "")).timestamp() - time.time()


class Authority:
    """An account at an authority: made when it is first needed, its key kept in `<state>/keys/` (mode 0600)."""

    def __init__(self, place: Place, state: Path) -> None:
        """Raises ServiceMissingError, RefusedError, ConfigError, TemporaryError (a clock that is wrong)."""
        self.place = place
        self._file = state / "keys" / f"acme-{sha256(place.directory.encode()).hexdigest()[:16]}.json"
        self._state = state
        if place.bundle and not Path(place.bundle).is_file():
            raise ConfigError(f"certificates.ca_bundle: {place.bundle} cannot be read")
        self._key, uri = self._kept()
        self._account = _account(uri) if uri else None
        self._connect()
        if self._account is None:
            self._register()

    @property
    def names_of_caa(self) -> tuple[str, ...]:
        """What a CAA record has to name for it, as far as it says so (RFC 8555 section 7.1.1)."""
        meta = getattr(self._client.directory, "meta", None)
        return tuple(meta.caa_identities or ()) if meta else ()

    def order(self, names: Sequence[str], csr: bytes, replaces: bytes = b"") -> Order:
        """Orders a certificate. `replaces`: PEM of the one whose place it takes, where that is of this authority."""
        with self._speaking():
            try:
                resource = self._order(names, csr, replaces)
            except messages.Error as error:
                if _code(error) != "accountDoesNotExist":
                    raise
                self._register()  # it has forgotten us: a test authority that was started anew
                resource = self._order(names, csr, replaces)
            return Order(resource, [_proof(one, at, self._key) for at, one in _pending(resource)])

    def answer(self, order: Order, proof: Proof, kind: str) -> None:
        """What proves the name is in place: the authority may look."""
        with self._speaking():
            for one in order.resource.authorizations[proof.at].body.challenges:
                if one.chall.typ == kind:
                    self._client.answer_challenge(one, one.chall.response(self._key))
                    return
        raise RefusedError(f"{self.place.directory} takes no {kind} for {proof.name}")

    def wait(self, order: Order) -> None:
        """Until all names are proved. Raises NamesRefusedError with all that are not."""
        end = time.monotonic() + self.place.seconds
        refused: dict[str, str] = {}
        with self._speaking():
            for proof in order.proofs:
                authorization = order.resource.authorizations[proof.at]
                for pause in _pauses(end):
                    authorization, _ = self._client.poll(authorization)
                    status = authorization.body.status
                    if status != messages.STATUS_PENDING and status != messages.STATUS_PROCESSING:
                        break
                    time.sleep(pause)
                else:
                    raise ServiceMissingError(f"{self.place.directory} has not looked at {proof.name} in time")
                if authorization.body.status != messages.STATUS_VALID:
                    refused[proof.name] = _why(authorization.body)
        if refused:
            raise NamesRefusedError(refused)

    def finish(self, order: Order) -> bytes:
        """The certificate with its chain, as PEM."""
        end = time.monotonic() + self.place.seconds
        with self._speaking():
            resource = self._client.begin_finalization(order.resource)
            for pause in _pauses(end):
                body = resource.body
                if body.status == messages.STATUS_INVALID:
                    raise RefusedError(
                        f"the order failed: {_words(body.error) if body.error else 'no reason is given'}"
                    )
                if body.status == messages.STATUS_VALID and body.certificate:
                    return self._post(body.certificate).content
                time.sleep(pause)
                resource = resource.update(body=messages.Order.from_json(self._post(resource.uri).json()))
        raise ServiceMissingError(f"{self.place.directory} has not issued in time")

    def advice(self, pem: bytes) -> tuple[Window | None, float]:
        """When it would like this certificate to be renewed, and after how many seconds to ask again (RFC 9773)."""
        try:
            url = self._client.directory["renewalInfo"]
        except KeyError:
            return None, math.inf
        with self._speaking():
            said = self._net.get(f"{url.rstrip('/')}/{certificate_id(pem)}").json()
            window = messages.RenewalInfo.from_json(said).suggested_window
            return Window(window.start.timestamp(), window.end.timestamp()), self._net.retry_after or 6 * 3600.0

    # -- inside ----------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._net = _Network(self.place, self._key, self._account)
        with self._speaking():
            self._client = client.ClientV2(client.ClientV2.get_directory(self.place.directory, self._net), self._net)
        skew = self._net.skew
        if skew is not None and abs(skew) > CLOCK:
            raise TemporaryError(
                f"this host's clock is {abs(skew) / 3600:.1f} h {'behind' if skew > 0 else 'ahead of'} that of "
                f"{self.place.directory}: nothing is ordered",
                hint="set it right (timedatectl); certificates that are there stay as they are",
            )

    def _register(self) -> None:
        self._net.account = self._account = None
        with self._speaking():
            binding = self._binding()
            new = messages.NewRegistration.from_data(
                email=self.place.email or None, terms_of_service_agreed=True, external_account_binding=binding
            )
            try:
                uri = self._client.new_account(new).uri
            except errors.ConflictError as error:  # the key is known there: the file had been lost
                uri = error.location
        self._net.account = self._account = _account(uri)
        kept = {"directory": self.place.directory, "account": uri, "key": self._key.to_json()}
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        hand_over(self._file.parent, self._state)
        write_file(self._file, json.dumps(kept, indent=2).encode(), self._state)

    def _binding(self) -> dict[str, str] | None:
        """RFC 8555 section 7.3.4."""
        meta = getattr(self._client.directory, "meta", None)
        if not self.place.external_account:
            if meta is not None and meta.external_account_required:
                raise ConfigError(
                    f"{self.place.directory} wants an external account",
                    hint="put its key id and HMAC key into a file that certificates.external_account names",
                )
            return None
        kid, key = external_account(Path(self.place.external_account))
        bound: dict[str, str] = messages.ExternalAccountBinding.from_data(
            self._key.public_key(), kid, key, self._client.directory
        )
        return bound

    def _kept(self) -> tuple[JWKEC, str]:
        """The account's key, and its URL where it is known; a new key where there is none."""
        try:
            kept = json.loads(self._file.read_bytes())
            key = JWKEC.from_json(kept["key"])
            assert isinstance(key, JWKEC)  # the library says it less exactly
            return key, str(kept["account"])
        except FileNotFoundError:
            return JWKEC(key=ComparableECKey(ec.generate_private_key(ec.SECP256R1()))), ""
        except (ValueError, KeyError, TypeError, JoseError) as error:
            raise PermanentError(
                f"{self._file} is damaged: {error}",
                hint="restore it from a backup, or remove it: the authority then gets a new account",
            ) from error

    def _order(self, names: Sequence[str], csr: bytes, replaces: bytes) -> messages.OrderResource:
        identifiers = [messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in names]
        url = self._client.directory["newOrder"]
        old = certificate_id(replaces) if replaces and hasattr(self._client.directory, "renewalInfo") else ""
        try:
            response = self._post(url, _NewOrder(identifiers=identifiers, **({"replaces": old} if old else {})))
        except (errors.ConflictError, messages.Error) as error:
            if not old or (isinstance(error, messages.Error) and _code(error) not in ("alreadyReplaced", "malformed")):
                raise
            response = self._post(url, _NewOrder(identifiers=identifiers))  # it no longer knows the old one
        body = messages.Order.from_json(response.json())
        found = []
        for one in body.authorizations:
            said = messages.Authorization.from_json(self._post(one).json())
            found.append(messages.AuthorizationResource(body=said, uri=one))
        return messages.OrderResource(
            body=body, uri=response.headers.get("Location"), authorizations=found, csr_pem=csr
        )

    def _post(self, url: str, what: JSONDeSerializable | None = None) -> requests.Response:
        """Without `what`: POST-as-GET (RFC 8555 section 6.3)."""
        return self._net.post(url, what, new_nonce_url=self._client.directory["newNonce"])

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except PostaneError:
            raise
        except messages.Error as error:
            raise self._refusal(error) from error
        except requests.exceptions.RequestException as error:
            raise self._absence(error) from error
        except OSError as error:
            raise ServiceMissingError(f"{self.place.directory} does not answer: {_root(error)}") from error
        except (errors.Error, JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
            # What is no ACME: the error page of a proxy, an authority in trouble.
            raise ServiceMissingError(
                f"{self.place.directory} gives no answer that can be read: {error!r:.300}"
            ) from error

    def _absence(self, error: requests.exceptions.RequestException) -> PostaneError:
        if isinstance(error, requests.exceptions.SSLError):
            return ServiceMissingError(
                f"the certificate of {self.place.directory} itself is not to be trusted: {_root(error)}",
                hint="is this host's clock right, and is certificates.ca_bundle the authority's root?",
            )
        if isinstance(error, ValueError):  # what it says is no JSON
            return ServiceMissingError(f"{self.place.directory} gives no answer that can be read: {error!r:.300}")
        return ServiceMissingError(f"{self.place.directory} does not answer: {_root(error)}")

    def _refusal(self, error: messages.Error) -> PostaneError:
        if _code(error) == "rateLimited":
            return RateLimitedError(f"{self.place.directory}: {_words(error)}", self._net.retry_after)
        if _code(error) in ("serverInternal", "badNonce"):
            return ServiceMissingError(f"{self.place.directory}: {_words(error)}")
        names = {one.identifier.value: _words(one) for one in error.subproblems or () if one.identifier}
        if names:
            return NamesRefusedError(names)
        hint = {
            "externalAccountRequired": "certificates.external_account",
            "unauthorized": "is the account still in order there, and the key of certificates.external_account right?",
            "caa": "postane domain plan shows the CAA records; domains.issuers has to name the authority",
        }.get(_code(error), "")
        return RefusedError(f"{self.place.directory}: {_words(error)}", hint=hint)


def external_account(path: Path) -> tuple[str, str]:
    """Key id and HMAC key (Base64, as authorities give it) from a file of two words. Raises ConfigError."""
    try:
        kid, key = path.read_text("ascii").split()
        base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
    except (OSError, ValueError, binascii.Error) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a key id and an HMAC key in Base64"
        raise ConfigError(f"certificates.external_account: {path}: {why}") from error
    return kid, key


def certificate_id(pem: bytes) -> str:
    """By which an authority knows a certificate (RFC 9773 section 4.1). Raises ValueError for one without such."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        key = None
    if not key:
        raise ValueError("the certificate does not name its issuer's key")
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1)  # with the sign's bit, as in DER
    return ".".join(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in (key, octets))


def _account(uri: str) -> messages.RegistrationResource:
    return messages.RegistrationResource(body=messages.Registration(), uri=uri)


def _pending(order: messages.OrderResource) -> Iterator[tuple[int, messages.AuthorizationResource]]:
    for at, one in enumerate(order.authorizations):
        if one.body.status != messages.STATUS_VALID:
            yield at, one


def _proof(one: messages.AuthorizationResource, at: int, key: JWK) -> Proof:
    http: tuple[str, str] | None = None
    dns = ""
    for offered in one.body.challenges or ():
        if isinstance(offered.chall, challenges.HTTP01):
            http = (offered.chall.encode("token"), offered.chall.validation(key))
        elif isinstance(offered.chall, challenges.DNS01):
            dns = offered.chall.validation(key)
    return Proof(one.body.identifier.value.lower(), bool(one.body.wildcard), http, dns, at)


def _why(authorization: messages.Authorization) -> str:
    said = [_words(one.error) for one in authorization.challenges or () if one.error is not None]
    return "; ".join(said) or f"the authority says {authorization.status.name}, and no reason"


def _words(error: messages.Error) -> str:
    """The authority's own, on one line."""
    text = " ".join(str(error.detail or error.title or error.typ).split())
    return f"{text} ({_code(error)})"


def _code(error: messages.Error) -> str:
    """Its last word; the library knows not all of them."""
    return (error.typ or "").rpartition(":")[2]


def _root(error: BaseException) -> str:
    """The innermost reason of a chain of wrapped errors."""
    seen = error
    while (inner := seen.__cause__ or seen.__context__) is not None and inner is not seen:
        seen = inner
    return " ".join(str(seen).split())[:300] or type(seen).__name__


def _pauses(end: float) -> Iterator[float]:
    """Seconds to wait between questions, until the monotonic time `end`."""
    pause = 0.1
    while time.monotonic() < end:
        yield pause
        pause = min(pause * 1.5, _SLOW)


def _seconds(text: str) -> float:
    """Retry-After (RFC 9110 section 10.2.3): seconds or a date; 0 for neither."""
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return 0.0
