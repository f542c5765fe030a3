plugins += stuck_client
stuck_client_dir := tests/plugins/stuck_client
