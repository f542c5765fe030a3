// SPDX-License-Identifier: Apache-2.0
//
// What the rig does with each event, and the rules that hold for all of them.
//
// Cookies: an endpoint's is its index + 1, a region's the same with a mark, an operation's has the endpoint's
// above and its own number below.
#include "rig.h"

#include <stdlib.h>
#include <string.h>

static struct rig_end *end_at(struct rig_node *node, uint64_t number,
                              const struct carrick_event *event)
{
    struct rig *rig = node->rig;
    struct rig_end *end;

    CHECK(rig, number >= 1 && number <= rig->ends_count,
          "event of type %u has a cookie that nobody gave", event->type);
    end = rig->ends[number - 1];
    CHECK(rig, end->node == node, "event of type %u came out of the other device", event->type);
    CHECK(rig, !end->closed, "event of type %u after CLOSED", event->type);
    return end;
}

// A request that is not accepted has the listening device's cookie, 0.
static struct rig_end *end_of(struct rig_node *node, const struct carrick_event *event)
{
    struct rig *rig = node->rig;

    if (event->cookie == 0) {
        for (unsigned i = 0; i < rig->ends_count; i++) {
            struct rig_end *end = rig->ends[i];

            if (end->node == node && end->handle == event->endpoint && !end->closed &&
                !end->answered)
                return end;
        }
    }
    return end_at(node, event->cookie, event);
}

static void completion(struct rig_node *node, const struct carrick_event *event)
{
    struct rig *rig = node->rig;
    struct rig_end *end = end_at(node, event->cookie >> 32, event);
    uint32_t number = (uint32_t)event->cookie;

    CHECK(rig, end->connected, "completion before CONNECTED");
    CHECK(rig, !end->silent, "operation %u completed after endpoint_close", number);
    CHECK(rig, number == end->completions || (rig->gaps_allowed && number > end->completions),
          "completion of operation %u, but that of %u is next", number, end->completions);
    CHECK(rig, number < end->posted);
    end->completions = number + 1;
    if (event->status == CARRICK_OK) {
        CHECK(rig, !end->failed, "operation %u is OK after one that is not", number);
        CHECK(rig, !end->disconnected, "operation %u is OK after DISCONNECTED", number);
        end->completed++;
    } else {
        end->failed = true;
    }
    if (end->on_completion != NULL)
        end->on_completion(end, number, event->status);
}

static void receive(struct rig_end *end, const struct carrick_event *event)
{
    struct rig_message *message;

    CHECK(end->node->rig, end->connected, "RECEIVE before CONNECTED");
    if (end->on_receive != NULL)
        end->on_receive(end, event->data, event->length);
    if (end->messages_count == end->messages_room) {
        end->messages_room = end->messages_room * 2 + 16;
        end->messages =
            realloc(end->messages, end->messages_room * sizeof(*end->messages)); // NOLINT
        cr_assert(end->messages != NULL);
    }
    message = &end->messages[end->messages_count++];
    message->bytes = event->length;
    message->data = malloc(event->length + 1u);
    cr_assert(message->data != NULL);
    if (event->length > 0)
        memcpy(message->data, event->data, event->length);
}

static void private_data(struct rig_end *end, const struct carrick_event *event)
{
    CHECK(end->node->rig, event->length <= sizeof(end->data));
    end->data_bytes = event->length;
    if (event->length > 0)
        memcpy(end->data, event->data, event->length);
}

static void request(struct rig_node *node, const struct carrick_event *event)
{
    struct rig_end *end;

    CHECK(node->rig, node->listening, "REQUEST on a device that does not listen");
    CHECK(node->rig, event->endpoint != NULL);
    end = rig_end_new(node);
    end->handle = event->endpoint;
    end->requested = true;
    private_data(end, event);
}

static void region_event(struct rig_node *node, const struct carrick_event *event)
{
    struct rig *rig = node->rig;
    struct rig_region *region;

    CHECK(rig, event->cookie >= 1 && event->cookie <= rig->regions_count);
    region = rig->regions[event->cookie - 1];
    CHECK(rig, region->node == node);
    if (event->type == CARRICK_EVENT_DEREGISTERED) {
        CHECK(rig, region->deregistering && !region->deregistered, "DEREGISTERED unasked");
        region->deregistered = true;
        return;
    }
    CHECK(rig, !region->registered, "REGISTERED twice");
    CHECK(rig, event->registration == region->handle);
    region->registered = true;
    region->status = event->status;
    region->key = event->key;
}

static void end_event(struct rig_node *node, const struct carrick_event *event)
{
    struct rig *rig = node->rig;
    struct rig_end *end = end_of(node, event);

    CHECK(rig, event->endpoint == end->handle, "event of type %u bears another endpoint's handle",
          event->type);
    switch (event->type) {
    case CARRICK_EVENT_RECEIVE:
        receive(end, event);
        break;
    case CARRICK_EVENT_SEND_ROOM:
        CHECK(rig, end->connected && end->node->ops.send_room != NULL);
        end->rooms++;
        break;
    case CARRICK_EVENT_CONNECTED:
        // It may have been on its way when endpoint_close was called.
        CHECK(rig, !end->connected && !end->disconnected);
        end->connected = true;
        private_data(end, event);
        break;
    case CARRICK_EVENT_DISCONNECTED:
        CHECK(rig, !end->disconnected, "DISCONNECTED twice");
        CHECK(rig, carrick_status_scope(event->status) >= CARRICK_SCOPE_ENDPOINT,
              "status 0x%x does not say that an endpoint is lost", (unsigned)event->status);
        end->disconnected = true;
        end->status = event->status;
        private_data(end, event);
        break;
    default:
        CHECK(rig, event->type == CARRICK_EVENT_CLOSED, "unknown event %u", event->type);
        CHECK(rig, end->closing, "CLOSED without endpoint_close");
        end->closed = true;
        end->applied = event->applied;
        break;
    }
}

void rig_event(struct rig_node *node, const struct carrick_event *event)
{
    switch (event->type) {
    case CARRICK_EVENT_COMPLETION:
        completion(node, event);
        break;
    case CARRICK_EVENT_REQUEST:
        request(node, event);
        break;
    case CARRICK_EVENT_REGISTERED:
    case CARRICK_EVENT_DEREGISTERED:
        region_event(node, event);
        break;
    case CARRICK_EVENT_DEVICE_DOWN:
    case CARRICK_EVENT_DEVICE_UP:
        break; // what carrier there is, is no subject of the suite
    default:
        end_event(node, event);
        break;
    }
}
