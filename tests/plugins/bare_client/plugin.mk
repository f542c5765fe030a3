plugins += bare_client
bare_client_dir := tests/plugins/bare_client
