"""JupyterLab with its kernels at a gateway: jupyter lab --gateway-url, in Chromium."""

import nbformat
from drive import lab


def test_plot_and_widget_through_a_gateway(everywhere):
    url = everywhere.url.rstrip("/")
    flags = ["--gateway-url=" + url, "--GatewayClient.auth_token=" + everywhere.token]
    with lab.jupyter_lab(*flags) as (place, folder):
        before = everywhere.kernels()
        saw = lab.browse(f"{place.url}lab/tree/book.ipynb?token={place.token}", "lab-gateway-" + everywhere.kind)
        lab.check_seen(saw)
        assert len(everywhere.kernels()) == len(before) + 1, "the kernel was not one of the gateway's"
        lab.check_saved(nbformat.read(folder / "book.ipynb", 4))
