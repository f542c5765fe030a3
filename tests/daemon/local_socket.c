// SPDX-License-Identifier: Apache-2.0
//
// Taking a unix socket's path: what an earlier process, or somebody else, left there, and who may connect.
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "common/local_socket.h"

#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[96];
static struct carrick_error error;
static struct local_socket mine;

static void begin(void)
{
    snprintf(dir, sizeof dir, "/tmp/carrick-XXXXXX");
    cr_assert(ne(ptr, mkdtemp(dir), NULL));
    snprintf(path, sizeof path, "%s/c.sock", dir);
    error.struct_size = sizeof error;
}

static void end(void)
{
    char command[80];

    snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert(eq(int, system(command), 0));
}

TestSuite(local_socket, .init = begin, .fini = end);

static int take(struct local_socket *sock, const char *at, const char *group)
{
    const struct local_socket_options options = {
        .path = at,
        .group = group,
        .what = "test socket",
        .setting = "test.socket",
        .instead = "place",
    };

    return local_socket_open(&options, sock, &error);
}

static void give_back(struct local_socket *sock)
{
    close(sock->fd);
    local_socket_close(sock);
}

static void expect_text(const char *part)
{
    cr_assert(ne(ptr, strstr(error.text, part), NULL), "\"%s\" does not say \"%s\"", error.text,
              part);
}

static int bind_other(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(address.sun_path, path);
    cr_assert(eq(int, bind(fd, (struct sockaddr *)&address, sizeof address), 0));
    return fd;
}

Test(local_socket, second_is_refused_and_told_of_the_first)
{
    struct local_socket second;
    char pid[64];

    cr_assert(eq(int, take(&mine, path, NULL), CARRICK_OK), "%s", error.text);
    cr_assert(eq(int, take(&second, path, NULL), CARRICK_ERR_EXISTS));
    snprintf(pid, sizeof pid, "process %d has the test socket", (int)getpid());
    expect_text(pid);
    expect_text("another place");
    // Nor is it free once the socket alone is gone.
    unlink(path);
    cr_assert(eq(int, take(&second, path, NULL), CARRICK_ERR_EXISTS));
    give_back(&mine);
    cr_assert(eq(int, take(&mine, path, NULL), CARRICK_OK), "%s", error.text);
    give_back(&mine);
}

Test(local_socket, of_a_process_that_died_is_taken_over)
{
    close(bind_other());
    cr_assert(eq(int, take(&mine, path, NULL), CARRICK_OK), "%s", error.text);
    give_back(&mine);
}

Test(local_socket, somebody_else_listens)
{
    int fd = bind_other();

    cr_assert(eq(int, listen(fd, 1), 0));
    cr_assert(eq(int, take(&mine, path, NULL), CARRICK_ERR_EXISTS));
    expect_text("ss -xlp");
    cr_assert(eq(int, access(path, F_OK), 0));
    close(fd);
}

Test(local_socket, file_in_its_place_stays)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    close(fd);
    cr_assert(eq(int, take(&mine, path, NULL), CARRICK_ERR_EXISTS));
    expect_text("is something else");
    cr_assert(eq(int, access(path, F_OK), 0));
}

Test(local_socket, directory_is_made_one_level_deep)
{
    snprintf(path, sizeof(path), "%s/run/c.sock", dir);
    cr_assert(eq(int, take(&mine, path, NULL), CARRICK_OK), "%s", error.text);
    give_back(&mine);
    cr_assert(eq(int, access(path, F_OK), -1));
    snprintf(path, sizeof(path), "%s/not/there/c.sock", dir);
    cr_assert(eq(int, take(&mine, path, NULL), CARRICK_ERR_SYSTEM));
    expect_text("/not/there");
}

Test(local_socket, path_is_too_long_for_a_socket)
{
    char longer[200];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = 0;
    cr_assert(eq(int, take(&mine, longer, NULL), CARRICK_ERR_CONFIG));
    expect_text("199 bytes");
}

Test(local_socket, access_is_by_group)
{
    struct stat st;
    cr_assert(eq(int, take(&mine, path, NULL), CARRICK_OK), "%s", error.text);
    cr_assert(eq(int, stat(path, &st), 0));
    cr_assert(eq(u32, st.st_mode & 07777, 0600));
    give_back(&mine);
    const struct group *own = getgrgid(getgid());
    if (!own)
        cr_skip("the group of this process has no name");
    cr_assert(eq(int, take(&mine, path, own->gr_name), CARRICK_OK), "%s", error.text);
    cr_assert(eq(int, stat(path, &st), 0));
    cr_assert(eq(u32, st.st_mode & 07777, 0660));
    cr_assert(eq(u32, st.st_gid, getgid()));
    give_back(&mine);
}

Test(local_socket, unknown_group)
{
    cr_assert(eq(int, take(&mine, path, "no-such-group"), CARRICK_ERR_CONFIG));
    expect_text("no-such-group");
    expect_text("groupadd");
    cr_assert(eq(int, access(path, F_OK), -1));
}
