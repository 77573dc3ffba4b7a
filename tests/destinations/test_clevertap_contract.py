from __future__ import annotations

from airflow_provider_census.testing.contract import DestinationContract
from airflow_provider_census.testing.subject import Subject


def profiles(api):
    names = {"objectId": "object_id", "FBID": "fbid", "GPID": "gpid"}
    for profile in api.profiles:
        yield {names.get(name, name): value for name, value in profile.items()}


def profile(**more):
    return Subject(
        object="profile",
        fields=lambda n: {"profileData.Name": f"Ann {n}", "profileData.visits": n, "profileData.score": n + 0.5},
        held=profiles,
        writes="POST /1/upload",
        deletes="POST /1/delete/profiles.json",
        text="profileData.note",
        odd={"profileData.MSG-sms": False, "profileData.tags": ["a", "b"], "profileData.plan": None},
        poison={"profileData.Email": "no address"},
        words="Email is not valid",
        invalid={"profileData.note": "x" * 513},
        short={"status": "success", "processed": 1, "unprocessed": []},
        **more,
    )


class TestCleverTapContract(DestinationContract):
    name = "clevertap"
    subjects = (
        profile(),
        profile(identifier="object_id"),
        Subject(
            object="event",
            fields=lambda n: {"identity": f"u{n}", "evtName": "bought", "ts": 1_700_000_000 + n, "evtData.n": n},
            held=lambda api: api.events,
            writes="POST /1/upload",
            text="evtData.note",
            odd={"evtData.big": True, "evtData.price": 9.5, "evtData.none": None},
            poison={"evtName": "Retired"},
            words="528: Event is discarded",
            invalid={"evtData.note": "x" * 513},
            short={"status": "success", "processed": 1, "unprocessed": []},
        ),
    )
