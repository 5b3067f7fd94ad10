"""Jupyter's contents API of one sandbox, and what its models must look like."""

import json
import re
import urllib.parse

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
MEMBERS = {
    *("name", "path", "type", "writable", "created", "last_modified", "size", "mimetype"),
    *("format", "content", "hash", "hash_algorithm"),
}
LIMIT_BODY = 24 << 20
LIMIT_FILE = 16 << 20
LIMIT_ENTRIES = 10_000


def check_model(model, content=False):
    assert set(model) == MEMBERS, model
    assert model["name"] == model["path"].rsplit("/", 1)[-1]
    assert model["type"] in ("file", "directory", "notebook"), model
    assert TIME.match(model["created"]) and TIME.match(model["last_modified"]), model
    assert isinstance(model["writable"], bool)
    assert (model["size"] is None) == (model["type"] == "directory"), model
    assert (model["content"] is None) != content and (model["format"] is None) != content, model
    assert model["mimetype"] is None or model["type"] == "file", model
    assert model["hash_algorithm"] == ("sha256" if model["hash"] else None), model
    return model


def refused(response, status, code):
    """An error, by what a Jupyter client and one of ours look at."""
    assert response.status == status, response
    found = json.loads(response.body)
    assert found["code"] == code and found["detail"], found
    return found


class Contents:
    def __init__(self, box):
        self.box = box

    def request(self, method, path="", model=None, query="", **kw):
        """`path` as it is written in the address, "" for none at all."""
        if model is not None:
            kw["body"] = json.dumps(model, ensure_ascii=False)  # as JavaScript does
        return self.box.api(method, "/jupyter/api/contents" + path + query, **kw)

    def address(self, path):
        return "/" + urllib.parse.quote(path)

    def get(self, path="", query=""):
        return self.request("GET", self.address(path) if path else "", query=query)

    def model(self, path="", query=""):
        found = self.get(path, query).expect(200)
        assert found.headers["Cache-Control"] == "no-store"
        return check_model(found.json(), content="content=0" not in query)

    def names(self, path=""):
        return [entry["name"] for entry in self.model(path)["content"]]

    def made(self, response, status=201):
        """The model of an answer that also says where it is."""
        model = check_model(response.expect(status).json())
        location = self.box.prefix + "/jupyter/api/contents" + self.address(model["path"])
        assert response.headers["Location"] == location
        self.box.get(location[len(self.box.prefix) :] + "?content=0").expect(200)
        return model

    def create(self, path="", /, **model):
        return self.made(self.request("POST", self.address(path) if path else "", model))

    def put(self, path, /, **model):
        return self.request("PUT", self.address(path), model)

    def save(self, path, content, format="text", status=201):
        return self.made(self.put(path, type="file", format=format, content=content), status)

    def save_notebook(self, path, content, status=201):
        return self.made(self.put(path, type="notebook", format="json", content=content), status)

    def rename(self, path, to):
        return self.request("PATCH", self.address(path), {"path": to})

    def delete(self, path):
        return self.request("DELETE", self.address(path))
