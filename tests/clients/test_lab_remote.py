"""JupyterLab as a client of a sandbox's own server: files, sessions and kernels are all the sandbox's.

Its page comes from a local JupyterLab; a reverse proxy sends /api/* and /kernelspecs/* to the sandbox, as one does
who serves both under one address.
"""

import json

import nbformat
from drive import lab


def test_plot_and_widget_with_the_files_of_the_sandbox(one):
    book = json.loads(lab.NOTEBOOK.read_text())
    model = {"type": "notebook", "format": "json", "content": book}
    status, found = one.ask("PUT", "api/contents/remote.ipynb", model)
    assert status == 201, found
    with lab.jupyter_lab() as (pages, folder), lab.in_front(one, pages) as (url, front):
        saw = lab.browse(f"{url}lab/tree/remote.ipynb?token={pages.token}", "lab-remote-" + one.kind)
        lab.check_seen(saw)
        assert pages.kernels() == [], "the kernel is a local one"
        assert not (folder / "remote.ipynb").exists()
        served = front.stderr.all()
        assert any(line.startswith("101 WS") and "/channels" in line for line in served), served
    status, found = one.ask("GET", "api/contents/remote.ipynb")
    assert status == 200 and found["type"] == "notebook", found
    notebook = nbformat.from_dict(found["content"])
    nbformat.validate(notebook)
    lab.check_saved(notebook)
    if one.box:
        lab.check_saved(nbformat.reads(one.box.file("remote.ipynb").expect(200).text, 4))
