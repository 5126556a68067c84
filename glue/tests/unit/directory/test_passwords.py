"""Hashes in the form that Dovecot reads."""

from __future__ import annotations

from passlib.hash import argon2

from postane.directory.passwords import NOBODY, generate_password, hash_password, needs_rehash, verify_password


def test_a_hash_is_dovecots_and_only_the_right_password_fits() -> None:
    stored = hash_password("gizli şifre")
    assert stored.startswith("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password("gizli şifre", stored)
    assert not verify_password("gizli sifre", stored)
    assert stored != hash_password("gizli şifre")
    assert not needs_rehash(stored)


def test_foreign_and_broken_hashes_fit_nothing() -> None:
    for stored in ("", "{PLAIN}x", "x", "{ARGON2ID}", "{ARGON2ID}$argon2id$rubbish"):
        assert not verify_password("x", stored)
        assert stored.startswith("{ARGON2ID}") or needs_rehash(stored)


def test_the_hash_of_nobody_costs_what_a_real_one_costs_and_fits_nothing() -> None:
    assert not needs_rehash(NOBODY)
    assert argon2.identify(NOBODY.removeprefix("{ARGON2ID}"))
    assert len(NOBODY) == len(hash_password("x"))
    for password in ("", "x", "nobody has this password"):
        assert not argon2.verify(password, NOBODY.removeprefix("{ARGON2ID}"))  # reckons: a broken hash would raise


def test_generated_passwords_differ() -> None:
    made = {generate_password() for _ in range(50)}
    assert len(made) == 50
    assert {len(password) for password in made} == {23}
