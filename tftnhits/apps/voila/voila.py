"""Settings of the page that `make app` serves."""

c = get_config()  # noqa: F821

c.Voila.ip = "127.0.0.1"
c.Voila.auto_token = True
c.Voila.open_browser = False
c.Voila.tornado_settings = {
    # Only this machine's own names are answered, else a site could have its name point here.
    "allow_remote_access": False,
    "local_hostnames": ["localhost"],
    # Nothing is ever fetched from elsewhere, whatever Voila and its extensions ask for, and no
    # other site can show the page in a frame of its own.
    "headers": {
        "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        "frame-ancestors 'self'"
    },
}
c.VoilaConfiguration.template = "tftnhits"
# How the package gets installed, how the notebook goes on and what can be done without the panel,
# is for the notebook: the page has the panel first.
c.TagRemovePreprocessor.remove_cell_tags = {"setup", "report", "notebook"}
# Each open page holds a kernel; one whose page is gone ends after ten minutes.
c.MappingKernelManager.cull_interval = 60
c.MappingKernelManager.cull_idle_timeout = 600
