// SPDX-License-Identifier: Apache-2.0
#include "core/names.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <string.h>

static void name_check(const char *name)
{
    cr_assert(name != NULL && name[0] != '\0');
    for (; *name != '\0'; name++)
        cr_assert(islower((unsigned char)*name) || *name == '-', "scripts read these names");
}

Test(names, each_reason_has_a_name_and_says_what_to_do)
{
    for (uint32_t i = 0; i < CARRICK_REASON_COUNT; i++) {
        name_check(reason_name(i));
        cr_assert_gt(strlen(reason_text(i)), 8);
        for (uint32_t j = 0; j < i; j++)
            cr_assert_str_neq(reason_name(i), reason_name(j));
    }
    cr_assert(reason_name(CARRICK_REASON_COUNT) != NULL);
    cr_assert(reason_text(UINT32_MAX) != NULL);
}

Test(names, each_state_has_a_name)
{
    for (uint32_t i = 0; i < CARRICK_SESSION_STATE_COUNT; i++) {
        name_check(session_state_name(i));
        for (uint32_t j = 0; j < i; j++)
            cr_assert_str_neq(session_state_name(i), session_state_name(j));
    }
    cr_assert(session_state_name(200) != NULL);
    for (uint32_t i = 0; i <= CARRICK_BOOT_SERVING; i++)
        name_check(boot_stage_name(i));
    cr_assert(boot_stage_name(UINT32_MAX) != NULL);
    for (uint32_t i = CARRICK_BOOT_INITRAMFS; i <= CARRICK_BOOT_SERVING; i++)
        cr_assert_eq(boot_stage_of(boot_stage_name(i)), i);
    cr_assert_eq(boot_stage_of("unknown"), CARRICK_BOOT_UNKNOWN);
    cr_assert_eq(boot_stage_of(""), CARRICK_BOOT_UNKNOWN);
}

Test(names, each_status_has_a_name)
{
    static const int statuses[] = {
        CARRICK_OK,
        CARRICK_ERR_INVALID,
        CARRICK_ERR_NOT_SUPPORTED,
        CARRICK_ERR_NO_MEMORY,
        CARRICK_ERR_AGAIN,
        CARRICK_ERR_NOT_FOUND,
        CARRICK_ERR_EXISTS,
        CARRICK_ERR_LIMIT,
        CARRICK_ERR_DENIED,
        CARRICK_ERR_STATE,
        CARRICK_ERR_BOUNDS,
        CARRICK_ERR_CONFIG,
        CARRICK_ERR_VERSION,
        CARRICK_ERR_SYSTEM,
        CARRICK_ERR_CANCELLED,
        CARRICK_ERR_CONFLICT,
        CARRICK_ERR_UNKNOWN,
        CARRICK_ERR_RESET,
        CARRICK_ERR_CLOSED,
        CARRICK_ERR_REFUSED,
        CARRICK_ERR_REMOTE_ACCESS,
        CARRICK_ERR_PROTOCOL,
        CARRICK_ERR_TIMEOUT,
        CARRICK_ERR_UNREACHABLE,
        CARRICK_ERR_LINK_DOWN,
        CARRICK_ERR_DEVICE_REMOVED,
        CARRICK_ERR_NO_DEVICE,
        CARRICK_ERR_SESSION_ENDED,
    };

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        name_check(status_name(statuses[i]));
        cr_assert_str_neq(status_name(statuses[i]), status_name(-1));
        for (size_t j = 0; j < i; j++)
            cr_assert_str_neq(status_name(statuses[i]), status_name(statuses[j]));
    }
}

Test(names, a_status_tells_how_much_is_lost)
{
    cr_assert_eq(carrick_status_scope(CARRICK_OK), CARRICK_SCOPE_NOTHING);
    cr_assert_eq(carrick_status_scope(CARRICK_ERR_BOUNDS), CARRICK_SCOPE_CALL);
    cr_assert_eq(carrick_status_scope(CARRICK_ERR_CANCELLED), CARRICK_SCOPE_OPERATION);
    cr_assert_eq(carrick_status_scope(CARRICK_ERR_RESET), CARRICK_SCOPE_ENDPOINT);
    cr_assert_eq(carrick_status_scope(CARRICK_ERR_LINK_DOWN), CARRICK_SCOPE_LINK);
    cr_assert_eq(carrick_status_scope(CARRICK_ERR_NO_DEVICE), CARRICK_SCOPE_DEVICE);
    cr_assert_eq(carrick_status_scope(CARRICK_ERR_SESSION_ENDED), CARRICK_SCOPE_SESSION);
}
