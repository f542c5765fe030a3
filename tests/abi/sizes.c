// SPDX-License-Identifier: Apache-2.0
//
// Written by scripts/abi-freeze from include-1.0: where everything public lay on a 64-bit machine when version
// 1.0 of the ABI was frozen. tests/abi/run.py compiles this with the present headers. Structures that tell their size, and
// tables of operations, may grow at their end; nothing else may change.
// clang-format off
#include <carrick/arbiter.h>
#include <carrick/client.h>
#include <carrick/plugin.h>
#include <carrick/policy.h>
#include <carrick/transport.h>
#include <carrick/types.h>

#define SAME(value, expected) _Static_assert((value) == (expected), #value " has changed")
#define NOT_LESS(value, expected) _Static_assert((value) >= (expected), #value " has shrunk")
#define LIES(type, member, offset, size) \
    _Static_assert(offsetof(type, member) == (offset), #type "." #member " has moved"); \
    _Static_assert(sizeof(((type *)0)->member) == (size), #type "." #member " has another size")

SAME(sizeof(void *), 8);
SAME(CARRICK_ARBITER_MEMBERS_MAX, 2);
SAME(CARRICK_VI_OPENING, 1);
SAME(CARRICK_VI_OPEN, 2);
SAME(CARRICK_VI_STALLED, 3);
SAME(CARRICK_VI_CLOSED, 4);
SAME(CARRICK_CLIENT_WRITE, 1);
SAME(CARRICK_CLIENT_READ, 2);
SAME(CARRICK_CLIENT_SEND, 3);
SAME(CARRICK_CLIENT_FLUSH, 4);
SAME(CARRICK_CLIENT_REGIONS_MAX, 1024);
SAME(CARRICK_CLIENT_VIS_MAX, 4096);
SAME(CARRICK_SEND_BYTES_MAX, 4096);
SAME(CARRICK_KIND_TRANSPORT, 1);
SAME(CARRICK_KIND_CLIENT, 2);
SAME(CARRICK_KIND_POLICY, 3);
SAME(CARRICK_KIND_ARBITER, 4);
SAME(CARRICK_KIND_TRANSPORT_WRAPPER, 5);
SAME(CARRICK_WATCH_READ, 1);
SAME(CARRICK_WATCH_WRITE, 2);
SAME(CARRICK_POLICY_NONE, -1);
SAME(CARRICK_POLICY_BUSY, -2);
SAME(CARRICK_PROOF_REMOTE, 1);
SAME(CARRICK_PROOF_LOCAL, 2);
SAME(CARRICK_CAP_NATIVE_FLUSH, 1);
SAME(CARRICK_CAP_CONNECTOR_FIRST, 2);
SAME(CARRICK_CAP_APPLIED_COUNT, 4);
SAME(CARRICK_CAP_ENCRYPTED, 8);
SAME(CARRICK_OP_WRITE, 1);
SAME(CARRICK_OP_READ, 2);
SAME(CARRICK_OP_SEND, 3);
SAME(CARRICK_OP_FLUSH, 4);
SAME(CARRICK_EVENT_COMPLETION, 1);
SAME(CARRICK_EVENT_RECEIVE, 2);
SAME(CARRICK_EVENT_REQUEST, 3);
SAME(CARRICK_EVENT_CONNECTED, 4);
SAME(CARRICK_EVENT_DISCONNECTED, 5);
SAME(CARRICK_EVENT_CLOSED, 6);
SAME(CARRICK_EVENT_REGISTERED, 7);
SAME(CARRICK_EVENT_DEREGISTERED, 8);
SAME(CARRICK_EVENT_DEVICE_DOWN, 9);
SAME(CARRICK_EVENT_DEVICE_UP, 10);
SAME(CARRICK_EVENT_DEVICE_REMOVED, 11);
SAME(CARRICK_OK, 0);
SAME(CARRICK_ERR_INVALID, 257);
SAME(CARRICK_ERR_NOT_SUPPORTED, 258);
SAME(CARRICK_ERR_NO_MEMORY, 259);
SAME(CARRICK_ERR_AGAIN, 260);
SAME(CARRICK_ERR_NOT_FOUND, 261);
SAME(CARRICK_ERR_EXISTS, 262);
SAME(CARRICK_ERR_LIMIT, 263);
SAME(CARRICK_ERR_DENIED, 264);
SAME(CARRICK_ERR_STATE, 265);
SAME(CARRICK_ERR_BOUNDS, 266);
SAME(CARRICK_ERR_CONFIG, 267);
SAME(CARRICK_ERR_VERSION, 268);
SAME(CARRICK_ERR_SYSTEM, 269);
SAME(CARRICK_ERR_CANCELLED, 513);
SAME(CARRICK_ERR_CONFLICT, 514);
SAME(CARRICK_ERR_UNKNOWN, 515);
SAME(CARRICK_ERR_RESET, 769);
SAME(CARRICK_ERR_CLOSED, 770);
SAME(CARRICK_ERR_REFUSED, 771);
SAME(CARRICK_ERR_REMOTE_ACCESS, 772);
SAME(CARRICK_ERR_PROTOCOL, 773);
SAME(CARRICK_ERR_TIMEOUT, 774);
SAME(CARRICK_ERR_UNREACHABLE, 1025);
SAME(CARRICK_ERR_LINK_DOWN, 1026);
SAME(CARRICK_ERR_DEVICE_REMOVED, 1281);
SAME(CARRICK_ERR_NO_DEVICE, 1282);
SAME(CARRICK_ERR_SESSION_ENDED, 1537);
SAME(CARRICK_SCOPE_NOTHING, 0);
SAME(CARRICK_SCOPE_CALL, 1);
SAME(CARRICK_SCOPE_OPERATION, 2);
SAME(CARRICK_SCOPE_ENDPOINT, 3);
SAME(CARRICK_SCOPE_LINK, 4);
SAME(CARRICK_SCOPE_DEVICE, 5);
SAME(CARRICK_SCOPE_SESSION, 6);
SAME(CARRICK_LOG_ERROR, 3);
SAME(CARRICK_LOG_WARNING, 4);
SAME(CARRICK_LOG_NOTICE, 5);
SAME(CARRICK_LOG_INFO, 6);
SAME(CARRICK_LOG_DEBUG, 7);
SAME(CARRICK_ACCESS_LOCAL, 0);
SAME(CARRICK_ACCESS_REMOTE_READ, 1);
SAME(CARRICK_ACCESS_REMOTE_WRITE, 2);
SAME(CARRICK_BOOT_UNKNOWN, 0);
SAME(CARRICK_BOOT_INITRAMFS, 1);
SAME(CARRICK_BOOT_ROOT, 2);
SAME(CARRICK_BOOT_SERVICES, 3);
SAME(CARRICK_BOOT_SERVING, 4);
SAME(CARRICK_SESSION_IDLE, 0);
SAME(CARRICK_SESSION_READING, 1);
SAME(CARRICK_SESSION_WRITING, 2);
SAME(CARRICK_SESSION_CHECKING, 3);
SAME(CARRICK_SESSION_TELLING, 4);
SAME(CARRICK_SESSION_BUILDING, 5);
SAME(CARRICK_SESSION_READY, 6);
SAME(CARRICK_SESSION_UP, 7);
SAME(CARRICK_SESSION_ENDING, 8);
SAME(CARRICK_SESSION_CLOSING, 9);
SAME(CARRICK_REASON_NONE, 0);
SAME(CARRICK_REASON_VERSION, 1);
SAME(CARRICK_REASON_CLUSTER, 2);
SAME(CARRICK_REASON_NODE, 3);
SAME(CARRICK_REASON_AUTHENTICATION, 4);
SAME(CARRICK_REASON_CONFIGURATION, 5);
SAME(CARRICK_REASON_RESOURCES, 6);
SAME(CARRICK_REASON_PROTOCOL, 7);
SAME(CARRICK_REASON_DEADLINE, 8);
SAME(CARRICK_REASON_LINK_LOST, 9);
SAME(CARRICK_REASON_PARTNER_RESTARTED, 10);
SAME(CARRICK_REASON_OPERATOR, 11);
SAME(CARRICK_REASON_SHUTDOWN, 12);
SAME(CARRICK_REASON_CLIENT, 13);
SAME(CARRICK_REASON_DUPLICATE, 14);
SAME(CARRICK_REASON_STALE_SESSION, 15);
SAME(CARRICK_REASON_PARTNER_ENDED, 16);
SAME(CARRICK_REASON_NOT_READY, 17);
SAME(CARRICK_ABI_MAJOR, 1);
SAME(CARRICK_NAME_MAX, 31);

NOT_LESS(sizeof(struct carrick_arbiter_host), 24);
LIES(struct carrick_arbiter_host, struct_size, 0, 4);
LIES(struct carrick_arbiter_host, reserved, 4, 4);
LIES(struct carrick_arbiter_host, base, 8, 8);
LIES(struct carrick_arbiter_host, answered, 16, 8);

SAME(sizeof(struct carrick_arbiter_member), 40);
LIES(struct carrick_arbiter_member, node, 0, 32);
LIES(struct carrick_arbiter_member, incarnation, 32, 8);

NOT_LESS(sizeof(struct carrick_arbiter_ops), 32);
LIES(struct carrick_arbiter_ops, create, 0, 8);
LIES(struct carrick_arbiter_ops, destroy, 8, 8);
LIES(struct carrick_arbiter_ops, read, 16, 8);
LIES(struct carrick_arbiter_ops, change, 24, 8);

NOT_LESS(sizeof(struct carrick_arbiter_record), 176);
LIES(struct carrick_arbiter_record, struct_size, 0, 4);
LIES(struct carrick_arbiter_record, member_count, 4, 4);
LIES(struct carrick_arbiter_record, number, 8, 8);
LIES(struct carrick_arbiter_record, generation, 16, 16);
LIES(struct carrick_arbiter_record, parent, 32, 16);
LIES(struct carrick_arbiter_record, fork_sequence, 48, 8);
LIES(struct carrick_arbiter_record, owner, 56, 32);
LIES(struct carrick_arbiter_record, owner_incarnation, 88, 8);
LIES(struct carrick_arbiter_record, members, 96, 80);

NOT_LESS(sizeof(struct carrick_client_host), 128);
LIES(struct carrick_client_host, struct_size, 0, 4);
LIES(struct carrick_client_host, reserved, 4, 4);
LIES(struct carrick_client_host, base, 8, 8);
LIES(struct carrick_client_host, region_create, 16, 8);
LIES(struct carrick_client_host, region_destroy, 24, 8);
LIES(struct carrick_client_host, region_ptr, 32, 8);
LIES(struct carrick_client_host, region_bytes, 40, 8);
LIES(struct carrick_client_host, vi_open, 48, 8);
LIES(struct carrick_client_host, vi_close, 56, 8);
LIES(struct carrick_client_host, vi_number, 64, 8);
LIES(struct carrick_client_host, post, 72, 8);
LIES(struct carrick_client_host, vi_room, 80, 8);
LIES(struct carrick_client_host, partner_status, 88, 8);
LIES(struct carrick_client_host, status_shadow, 96, 8);
LIES(struct carrick_client_host, status_boot_stage, 104, 8);
LIES(struct carrick_client_host, session_reset, 112, 8);
LIES(struct carrick_client_host, command_reply, 120, 8);

NOT_LESS(sizeof(struct carrick_client_info), 32);
LIES(struct carrick_client_info, struct_size, 0, 4);
LIES(struct carrick_client_info, vis, 4, 4);
LIES(struct carrick_client_info, version, 8, 4);
LIES(struct carrick_client_info, region_count, 12, 4);
LIES(struct carrick_client_info, region_max, 16, 4);
LIES(struct carrick_client_info, reserved, 20, 4);
LIES(struct carrick_client_info, wants, 24, 8);

NOT_LESS(sizeof(struct carrick_client_ops), 112);
LIES(struct carrick_client_ops, create, 0, 8);
LIES(struct carrick_client_ops, destroy, 8, 8);
LIES(struct carrick_client_ops, describe, 16, 8);
LIES(struct carrick_client_ops, ready, 24, 8);
LIES(struct carrick_client_ops, ending, 32, 8);
LIES(struct carrick_client_ops, ended, 40, 8);
LIES(struct carrick_client_ops, completed, 48, 8);
LIES(struct carrick_client_ops, received, 56, 8);
LIES(struct carrick_client_ops, config_check, 64, 8);
LIES(struct carrick_client_ops, config_change, 72, 8);
LIES(struct carrick_client_ops, provide, 80, 8);
LIES(struct carrick_client_ops, vi_changed, 88, 8);
LIES(struct carrick_client_ops, describe_state, 96, 8);
LIES(struct carrick_client_ops, command, 104, 8);

NOT_LESS(sizeof(struct carrick_completion), 24);
LIES(struct carrick_completion, struct_size, 0, 4);
LIES(struct carrick_completion, status, 4, 4);
LIES(struct carrick_completion, cookie, 8, 8);
LIES(struct carrick_completion, vi, 16, 8);

NOT_LESS(sizeof(struct carrick_connect_options), 56);
LIES(struct carrick_connect_options, struct_size, 0, 4);
LIES(struct carrick_connect_options, timeout_ms, 4, 4);
LIES(struct carrick_connect_options, domain, 8, 8);
LIES(struct carrick_connect_options, remote, 16, 8);
LIES(struct carrick_connect_options, data, 24, 8);
LIES(struct carrick_connect_options, data_bytes, 32, 4);
LIES(struct carrick_connect_options, receive_bytes, 36, 4);
LIES(struct carrick_connect_options, receive_depth, 40, 4);
LIES(struct carrick_connect_options, reserved, 44, 4);
LIES(struct carrick_connect_options, cookie, 48, 8);

NOT_LESS(sizeof(struct carrick_device_caps), 56);
LIES(struct carrick_device_caps, struct_size, 0, 4);
LIES(struct carrick_device_caps, flags, 4, 4);
LIES(struct carrick_device_caps, proof, 8, 4);
LIES(struct carrick_device_caps, max_send_bytes, 12, 4);
LIES(struct carrick_device_caps, max_message_bytes, 16, 8);
LIES(struct carrick_device_caps, max_posted, 24, 4);
LIES(struct carrick_device_caps, max_reads, 28, 4);
LIES(struct carrick_device_caps, inline_bytes, 32, 4);
LIES(struct carrick_device_caps, request_bytes, 36, 4);
LIES(struct carrick_device_caps, reply_bytes, 40, 4);
LIES(struct carrick_device_caps, max_endpoints, 44, 4);
LIES(struct carrick_device_caps, max_locked_bytes, 48, 8);

NOT_LESS(sizeof(struct carrick_device_options), 32);
LIES(struct carrick_device_options, struct_size, 0, 4);
LIES(struct carrick_device_options, reserved, 4, 4);
LIES(struct carrick_device_options, name, 8, 8);
LIES(struct carrick_device_options, local, 16, 8);
LIES(struct carrick_device_options, config, 24, 8);

NOT_LESS(sizeof(struct carrick_error), 400);
LIES(struct carrick_error, struct_size, 0, 4);
LIES(struct carrick_error, status, 4, 4);
LIES(struct carrick_error, sys_errno, 8, 4);
LIES(struct carrick_error, reserved, 12, 4);
LIES(struct carrick_error, pointer, 16, 128);
LIES(struct carrick_error, text, 144, 256);

NOT_LESS(sizeof(struct carrick_event), 72);
LIES(struct carrick_event, struct_size, 0, 4);
LIES(struct carrick_event, type, 4, 4);
LIES(struct carrick_event, status, 8, 4);
LIES(struct carrick_event, length, 12, 4);
LIES(struct carrick_event, cookie, 16, 8);
LIES(struct carrick_event, endpoint, 24, 8);
LIES(struct carrick_event, data, 32, 8);
LIES(struct carrick_event, applied, 40, 8);
LIES(struct carrick_event, registration, 48, 8);
LIES(struct carrick_event, key, 56, 16);

NOT_LESS(sizeof(struct carrick_host), 120);
LIES(struct carrick_host, struct_size, 0, 4);
LIES(struct carrick_host, abi_major, 4, 2);
LIES(struct carrick_host, abi_minor, 6, 2);
LIES(struct carrick_host, node, 8, 8);
LIES(struct carrick_host, partner, 16, 8);
LIES(struct carrick_host, manager, 24, 8);
LIES(struct carrick_host, instance, 32, 8);
LIES(struct carrick_host, log, 40, 8);
LIES(struct carrick_host, now_ns, 48, 8);
LIES(struct carrick_host, random, 56, 8);
LIES(struct carrick_host, timer_create, 64, 8);
LIES(struct carrick_host, timer_start, 72, 8);
LIES(struct carrick_host, timer_stop, 80, 8);
LIES(struct carrick_host, timer_destroy, 88, 8);
LIES(struct carrick_host, watch_create, 96, 8);
LIES(struct carrick_host, watch_destroy, 104, 8);
LIES(struct carrick_host, work, 112, 8);

NOT_LESS(sizeof(struct carrick_op), 64);
LIES(struct carrick_op, struct_size, 0, 4);
LIES(struct carrick_op, operation, 4, 4);
LIES(struct carrick_op, cookie, 8, 8);
LIES(struct carrick_op, region, 16, 8);
LIES(struct carrick_op, offset, 24, 8);
LIES(struct carrick_op, length, 32, 8);
LIES(struct carrick_op, there_offset, 40, 8);
LIES(struct carrick_op, there, 48, 4);
LIES(struct carrick_op, reserved, 52, 4);
LIES(struct carrick_op, data, 56, 8);

NOT_LESS(sizeof(struct carrick_partner_status), 64);
LIES(struct carrick_partner_status, struct_size, 0, 4);
LIES(struct carrick_partner_status, session_state, 4, 4);
LIES(struct carrick_partner_status, boot_stage, 8, 4);
LIES(struct carrick_partner_status, load_permille, 12, 4);
LIES(struct carrick_partner_status, incarnation, 16, 8);
LIES(struct carrick_partner_status, heartbeat, 24, 8);
LIES(struct carrick_partner_status, shadow_sequence, 32, 8);
LIES(struct carrick_partner_status, read_at_ns, 40, 8);
LIES(struct carrick_partner_status, heartbeat_moved_at_ns, 48, 8);
LIES(struct carrick_partner_status, links_up, 56, 4);
LIES(struct carrick_partner_status, links, 60, 4);

NOT_LESS(sizeof(struct carrick_plugin), 56);
LIES(struct carrick_plugin, struct_size, 0, 4);
LIES(struct carrick_plugin, abi_major, 4, 2);
LIES(struct carrick_plugin, abi_minor, 6, 2);
LIES(struct carrick_plugin, kind, 8, 4);
LIES(struct carrick_plugin, ops_size, 12, 4);
LIES(struct carrick_plugin, name, 16, 8);
LIES(struct carrick_plugin, version, 24, 8);
LIES(struct carrick_plugin, licence, 32, 8);
LIES(struct carrick_plugin, description, 40, 8);
LIES(struct carrick_plugin, ops, 48, 8);

NOT_LESS(sizeof(struct carrick_policy_input), 40);
LIES(struct carrick_policy_input, struct_size, 0, 4);
LIES(struct carrick_policy_input, link_count, 4, 4);
LIES(struct carrick_policy_input, links, 8, 8);
LIES(struct carrick_policy_input, sequence, 16, 8);
LIES(struct carrick_policy_input, vi, 24, 8);
LIES(struct carrick_policy_input, current, 32, 4);
LIES(struct carrick_policy_input, reserved, 36, 4);

NOT_LESS(sizeof(struct carrick_policy_link), 64);
LIES(struct carrick_policy_link, struct_size, 0, 4);
LIES(struct carrick_policy_link, eligible, 4, 4);
LIES(struct carrick_policy_link, busy, 8, 4);
LIES(struct carrick_policy_link, vis, 12, 4);
LIES(struct carrick_policy_link, inflight_bytes, 16, 8);
LIES(struct carrick_policy_link, inflight_ops, 24, 8);
LIES(struct carrick_policy_link, latency_ns, 32, 8);
LIES(struct carrick_policy_link, up_since_ns, 40, 8);
LIES(struct carrick_policy_link, weight_permille, 48, 4);
LIES(struct carrick_policy_link, reserved, 52, 4);
LIES(struct carrick_policy_link, name, 56, 8);

NOT_LESS(sizeof(struct carrick_policy_ops), 24);
LIES(struct carrick_policy_ops, create, 0, 8);
LIES(struct carrick_policy_ops, destroy, 8, 8);
LIES(struct carrick_policy_ops, choose, 16, 8);

NOT_LESS(sizeof(struct carrick_region_backing), 16);
LIES(struct carrick_region_backing, struct_size, 0, 4);
LIES(struct carrick_region_backing, fd, 4, 4);
LIES(struct carrick_region_backing, offset, 8, 8);

NOT_LESS(sizeof(struct carrick_region_options), 40);
LIES(struct carrick_region_options, struct_size, 0, 4);
LIES(struct carrick_region_options, access, 4, 4);
LIES(struct carrick_region_options, address, 8, 8);
LIES(struct carrick_region_options, bytes, 16, 8);
LIES(struct carrick_region_options, fd, 24, 4);
LIES(struct carrick_region_options, reserved, 28, 4);
LIES(struct carrick_region_options, cookie, 32, 8);

NOT_LESS(sizeof(struct carrick_region_want), 16);
LIES(struct carrick_region_want, struct_size, 0, 4);
LIES(struct carrick_region_want, access, 4, 4);
LIES(struct carrick_region_want, bytes, 8, 8);

SAME(sizeof(struct carrick_remote_key), 16);
LIES(struct carrick_remote_key, base, 0, 8);
LIES(struct carrick_remote_key, key, 8, 4);
LIES(struct carrick_remote_key, reserved, 12, 4);

NOT_LESS(sizeof(struct carrick_session_info), 72);
LIES(struct carrick_session_info, struct_size, 0, 4);
LIES(struct carrick_session_info, partner_version, 4, 4);
LIES(struct carrick_session_info, session, 8, 8);
LIES(struct carrick_session_info, incarnation, 16, 8);
LIES(struct carrick_session_info, partner_incarnation, 24, 8);
LIES(struct carrick_session_info, vi_count, 32, 4);
LIES(struct carrick_session_info, here_count, 36, 4);
LIES(struct carrick_session_info, there_count, 40, 4);
LIES(struct carrick_session_info, reserved, 44, 4);
LIES(struct carrick_session_info, vis, 48, 8);
LIES(struct carrick_session_info, here, 56, 8);
LIES(struct carrick_session_info, there_bytes, 64, 8);

NOT_LESS(sizeof(struct carrick_transport_ops), 176);
LIES(struct carrick_transport_ops, create, 0, 8);
LIES(struct carrick_transport_ops, destroy, 8, 8);
LIES(struct carrick_transport_ops, config_check, 16, 8);
LIES(struct carrick_transport_ops, device_open, 24, 8);
LIES(struct carrick_transport_ops, device_close, 32, 8);
LIES(struct carrick_transport_ops, device_caps, 40, 8);
LIES(struct carrick_transport_ops, device_poll, 48, 8);
LIES(struct carrick_transport_ops, device_fd, 56, 8);
LIES(struct carrick_transport_ops, device_arm, 64, 8);
LIES(struct carrick_transport_ops, device_wake, 72, 8);
LIES(struct carrick_transport_ops, domain_create, 80, 8);
LIES(struct carrick_transport_ops, domain_destroy, 88, 8);
LIES(struct carrick_transport_ops, region_register, 96, 8);
LIES(struct carrick_transport_ops, region_deregister, 104, 8);
LIES(struct carrick_transport_ops, listen, 112, 8);
LIES(struct carrick_transport_ops, unlisten, 120, 8);
LIES(struct carrick_transport_ops, endpoint_connect, 128, 8);
LIES(struct carrick_transport_ops, endpoint_accept, 136, 8);
LIES(struct carrick_transport_ops, endpoint_reject, 144, 8);
LIES(struct carrick_transport_ops, endpoint_close, 152, 8);
LIES(struct carrick_transport_ops, post, 160, 8);
LIES(struct carrick_transport_ops, describe, 168, 8);

NOT_LESS(sizeof(struct carrick_work), 56);
LIES(struct carrick_work, struct_size, 0, 4);
LIES(struct carrick_work, operation, 4, 4);
LIES(struct carrick_work, cookie, 8, 8);
LIES(struct carrick_work, local, 16, 8);
LIES(struct carrick_work, length, 24, 8);
LIES(struct carrick_work, remote, 32, 8);
LIES(struct carrick_work, key, 40, 4);
LIES(struct carrick_work, reserved, 44, 4);
LIES(struct carrick_work, registration, 48, 8);
