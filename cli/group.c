// SPDX-License-Identifier: Apache-2.0
//
// What of a group is more than one word of what the failover monitor says. Pure.

#include "cli/cli.h"
#include "cli/show.h"

#include <stdio.h>
#include <string.h>

void group_state(struct json_object *group, char *text, size_t size)
{
    char rate[32], left[32], clean[32];
    size_t used;
    text_clean(member_text(group, "state"), clean, sizeof clean);
    used = (size_t)snprintf(text, size, "%s", clean);
    if (!json_object_object_get_ex(group, "resync_percent", NULL) || used >= size)
        return;
    used += (size_t)snprintf(text + used, size - used, " %d%%",
                             (int)member_int(group, "resync_percent"));
    if (member_int(group, "resync_bytes_per_second") <= 0 || used >= size)
        return;
    text_bytes((uint64_t)member_int(group, "resync_bytes_per_second"), rate, sizeof rate);
    used += (size_t)snprintf(text + used, size - used, ", %s/s", rate);
    if (!json_object_object_get_ex(group, "resync_left_s", NULL) || used >= size)
        return;
    text_age((uint64_t)member_int(group, "resync_left_s") * 1000, left, sizeof left);
    snprintf(text + used, size - used, ", %s left", left);
}

// What the partner's copy reaches is known from the partner alone.
void group_durability(struct json_object *group, char *text, size_t size)
{
    const char *here = member_text(member_object(group, "copy"), "level"),
               *there = member_text(member_object(group, "partner_copy"), "level");
    char clean[2][32];
    text_clean(here, clean[0], sizeof clean[0]);
    text_clean(there, clean[1], sizeof clean[1]);
    if (here[0] == '\0')
        snprintf(text, size, "-");
    else if (strcmp(here, there) == 0)
        snprintf(text, size, "%s", clean[0]);
    else
        snprintf(text, size, "%s, there %s", clean[0], there[0] ? clean[1] : "unknown");
}
