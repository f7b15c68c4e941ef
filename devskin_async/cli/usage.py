"""What is said of a command that was typed wrongly, and which option was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, get_args, get_origin

from cyclopts import Argument, CycloptsError
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

# Of two names this alike one is taken for a slip of the other: --stat, --date-form, --sanbox.
_ALIKE = 0.75

# What other programs call an option.
_SYNONYMS: Mapping[str, str] = {
    "--max": "--limit --count --rows --top --num --size --page-size --max-rows -n -l",
    "--copies": "--count --repeat --times -n",
    "--date-from": "--since --after --start --start-date --from --from-date --begin",
    "--date-to": "--until --till --before --end --end-date --to --to-date",
    "--out": "--output --output-dir --outdir --dir --directory --folder --dest --path -o",
    "--api-key": "--key --apikey --token --api-token --auth -k",
    "--secret": "--key --token --webhook-secret --signing-secret",
    "--base-url": "--url --api-url --host --server --endpoint --address",
    "--to": "--url --target --destination",
    "--forward-to": "--forward --forward-url --to",
    "--format": "--type --output-format --file-format --fmt -f",
    "--json": "--format --output --as-json --jsonl -j",
    "--status": "--state -s",
    "--period": "--days --range --interval --last",
    "--compress": "--gzip --gz --compression -z",
    "--separator": "--delimiter --sep -d",
    "--plan": "--dry-run --estimate --preview",
    "--fresh": "--restart --force --reset --no-resume",
    "--sandbox": "--demo --local --offline --fake --mock",
    "--details": "--items --lines --full",
    "--db": "--database --sqlite --file",
    "--port": "-p",
    "--budget": "--share --shared --shared-budget --store",
    "--rate-limit": "--limit --rate --rpm --requests --max-requests --per-minute",
    "--reserve": "--leave --keep-free --spare --headroom",
    "--watch": "--follow --live --refresh -w -f",
}  # fmt: skip


def command_name(error: CycloptsError) -> str:
    """Give the words of the command that was typed wrongly."""
    return " ".join(("devskin", *(error.command_chain or ())))


def explained(error: CycloptsError) -> str:
    """Say in one line what is wrong with what was typed, and where it is explained.

    A word too many is not repeated, nor is the value of an unknown option: it could be a key.
    """
    match error:
        case UnknownOptionError():
            typed = error.token.keyword or error.token.value
            said = _unknown_option(typed, error.argument_collection)
        case UnknownCommandError():
            said = _unknown_command(error)
        case UnusedCliTokensError():
            said = f"Unexpected argument: {command_name(error)} takes {_arguments(error)}."
        case CoercionError(token=token) if token is not None:
            said = _wrong_value(error, token.keyword or _name(error.argument), token.value)
        case MissingArgumentError():
            said = _missing(error)
        case RepeatArgumentError():
            said = f"{error.token.keyword} is given more than once."
        case _:
            said = str(error)
    return f"{said} See {command_name(error)} --help."


def _unknown_option(typed: str, arguments: Iterable[Argument]) -> str:
    typed, _, _ = typed.partition("=")
    known = [name for each in arguments if each.parse for name in each.names]
    if typed in known:
        return f"{typed} comes after --, so it is not read as an option."
    meant = _meant(typed, known)
    return f"Unknown option: {typed}.{f' Did you mean {meant}?' if meant else ''}"


def _meant(typed: str, known: Collection[str]) -> str | None:
    for name in known:
        if typed in _SYNONYMS.get(name, "").split():
            return name
    # The dashes, which all have, would make any two short names alike.
    names = {name.lstrip("-"): name for name in known}
    return next((names[each] for each in _alike(typed.lstrip("-"), names)), None)


def _alike(word: str, words: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(word, list(words), n=1, cutoff=_ALIKE)


def _unknown_command(error: UnknownCommandError) -> str:
    (typed, *_), app = error.unused_tokens or [""], error.app
    names = [] if app is None else [name for name in app if not name.startswith("-")]
    meant = "".join(f' Did you mean "{each}"?' for each in _alike(typed, names))
    return f'Unknown command "{typed}".{meant} The commands are {", ".join(names)}.'


def _arguments(error: CycloptsError) -> str:
    """Name the arguments that a command takes without an option's name before them."""
    found = [each for each in _arguments_of(error) if each.index is not None]
    return f"only {' and '.join(map(_name, found))}" if found else "options only"


def _wrong_value(error: CoercionError, name: str, value: str) -> str:
    kind = error.target_type
    if error.msg is not None:  # a converter's own
        return f"{name}: {error.msg}."
    if get_origin(kind) is Literal:
        choices = [str(each) for each in get_args(kind)]
        meant = "".join(f' Did you mean "{each}"?' for each in _alike(value, choices))
        return f'{name}: "{value}" is not one of {", ".join(choices)}.{meant}'
    if kind is bool:
        return f"{name} is a flag and takes no value."
    return f'{name}: "{value}" is not a number.' if kind is float else str(error)


def _missing(error: MissingArgumentError) -> str:
    # Most likely the one that is missing was given by another name.
    arguments = tuple(_arguments_of(error))
    known = {name for each in arguments for name in each.names}
    for token in error.unused_tokens or ():
        if re.match(r"--?[a-z]", token) and token.partition("=")[0] not in known:
            return _unknown_option(token, arguments)
    name = error.keyword or _name(error.argument)
    if not name.startswith("-"):
        return f"{name} is missing."
    given = error.keyword is not None or (error.argument is not None and error.argument.tokens)
    return f"{name} needs a value." if given else f"{name} is required."


def _arguments_of(error: CycloptsError) -> Iterable[Argument]:
    return () if error.app is None else error.app.assemble_argument_collection()


def _name(argument: Argument | None) -> str:
    return "" if argument is None else argument.name
