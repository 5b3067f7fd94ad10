"""POST /claim, which a controller sends to a warm sandbox: one claim, however often it is sent."""

import threading

import pytest

CLAIM = {"claim_id": "c-1", "owner": "ann", "name": "first", "labels": {"a": "b"}, "idle_timeout_s": 60}
IDENTITY = {"claim_id": "c-1", "owner": "ann", "name": "first", "idempotency_key": None, "session_id": None}


def test_a_claim_that_is_sent_again_has_the_same_answer(make_runner):
    box = make_runner().box()
    first = box.post("/claim", CLAIM).expect(200).json()
    assert (first["owner"], first["claim_id"], first["claimed"]) == ("ann", "c-1", True)
    again = box.post("/claim", CLAIM).expect(200).json()
    same = ("id", "created_at", "claim_id", "owner", "name", "labels", "idle_timeout_s")
    assert [again[k] for k in same] == [first[k] for k in same]
    assert box.get("/sandbox").expect(200).json()["claim_id"] == "c-1"


@pytest.mark.parametrize(
    "other",
    [
        {**CLAIM, "claim_id": "c-2"},
        {**CLAIM, "name": "second"},
        {**CLAIM, "env": {"A": "b"}},
        {"owner": "ann"},
        {**CLAIM, "owner": "bob"},
    ],
    ids=["another claim of the same owner", "name", "env", "without an id", "owner"],
)
def test_another_claim_is_refused_and_told_whose_it_is(make_runner, other):
    box = make_runner().box()
    created = box.post("/claim", CLAIM).expect(200).json()
    refused = box.post("/claim", other).expect(409)
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert (refused.json()["code"], refused.json()["claim"]) == ("conflict", IDENTITY)
    found = box.get("/sandbox").expect(200).json()
    assert [found[k] for k in created if k not in ("kernel", "last_activity_at", "expires_at")] == [
        created[k] for k in created if k not in ("kernel", "last_activity_at", "expires_at")
    ]
    assert box.value("__import__('os').environ.get('A')") is None
    assert box.post("/claim", CLAIM).expect(200).json()["name"] == "first"


def test_of_two_claims_at_once_one_is_taken(make_runner):
    box = make_runner().box()
    answers = {}

    def claim(n):
        answers[n] = box.post("/claim", {"claim_id": "c-%d" % n, "owner": "ann", "name": str(n)})

    threads = [threading.Thread(target=claim, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    taken = [n for n in answers if answers[n].status == 200]
    assert len(taken) == 1, answers
    assert answers[taken[0]].json()["name"] == str(taken[0])
    for n in set(answers) - set(taken):
        assert answers[n].expect(409).json()["claim"]["claim_id"] == "c-%d" % taken[0]


def test_a_bad_claim_claims_nothing(make_runner):
    box = make_runner().box()
    bad = [({}, "owner"), ({"owner": "ann", "claim_id": ""}, "claim_id"), ({"owner": "ann", "claim_id": 1}, "claim_id")]
    bad += [({"owner": "ann", "claim_id": "x" * 129}, "claim_id"), ({"owner": "ann", "idle_timeout_s": 0}, "idle_timeout_s")]
    for body, field in bad:
        assert box.post("/claim", body).problem("invalid" if body.get("claim_id") != "x" * 129 else "too_large")
        assert box.get("/sandbox").json()["claimed"] is False
    box.post("/claim", {**CLAIM, "claim_id": "x" * 128}).expect(200)
