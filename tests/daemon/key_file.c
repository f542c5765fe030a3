// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "daemon/key_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static char path[96];
static struct key key;
static struct carrick_error error;

static void begin(void)
{
    strcpy(dir, "/tmp/key-test-XXXXXX");
    cr_assert(ne(ptr, mkdtemp(dir), NULL));
    snprintf(path, sizeof(path), "%s/key", dir);
}

static void end(void)
{
    unlink(path);
    rmdir(dir);
}

TestSuite(key_file, .init = begin, .fini = end);

static void write_key(size_t length, const char *ending, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(ge(int, fd, 0));
    for (size_t i = 0; i < length; i++)
        cr_assert(eq(int, (int)write(fd, "k", 1), 1));
    cr_assert(eq(sz, (size_t)write(fd, ending, strlen(ending)), strlen(ending)));
    cr_assert(eq(int, fchmod(fd, mode), 0));
    close(fd);
}

static void expect_refused(int status, const char *part)
{
    memset(&error, 0, sizeof(error));
    cr_assert(eq(int, key_file_read(path, &key, &error), status), "%s", error.text);
    cr_assert(ne(ptr, strstr(error.text, part), NULL), "\"%s\" does not say \"%s\"", error.text,
              part);
    cr_assert(ne(ptr, strstr(error.text, path), NULL), "\"%s\" does not name the file", error.text);
    cr_assert(eq(sz, key.length, 0));
}

Test(key_file, good_key_without_its_newline)
{
    write_key(32, "\n", 0600);
    cr_assert(eq(int, key_file_read(path, &key, &error), CARRICK_OK), "%s", error.text);
    cr_assert(eq(sz, key.length, 32));
    cr_assert(eq(int, key.bytes[31], 'k'));
    key_forget(&key);
    cr_assert(eq(sz, key.length, 0));
    cr_assert(eq(int, key.bytes[0], 0));
}

Test(key_file, only_one_newline_is_taken_off)
{
    write_key(31, "\n\n", 0400);
    cr_assert(eq(int, key_file_read(path, &key, &error), CARRICK_OK), "%s", error.text);
    cr_assert(eq(sz, key.length, 32));
}

Test(key_file, longest)
{
    write_key(KEY_BYTES_MAX, "\n", 0600);
    cr_assert(eq(int, key_file_read(path, &key, &error), CARRICK_OK), "%s", error.text);
    cr_assert(eq(sz, key.length, KEY_BYTES_MAX));
}

Test(key_file, too_long)
{
    write_key(KEY_BYTES_MAX + 1, "", 0600);
    expect_refused(CARRICK_ERR_INVALID, "more than the 4096 bytes");
    write_key(KEY_BYTES_MAX + 1, "\n", 0600);
    expect_refused(CARRICK_ERR_INVALID, "more than the 4096 bytes");
    write_key(3 * KEY_BYTES_MAX, "", 0600);
    expect_refused(CARRICK_ERR_INVALID, "more than the 4096 bytes");
}

Test(key_file, too_short)
{
    write_key(31, "\n", 0600);
    expect_refused(CARRICK_ERR_INVALID, "holds 31 bytes");
    write_key(0, "", 0600);
    expect_refused(CARRICK_ERR_INVALID, "holds 0 bytes");
}

Test(key_file, mode_lets_others_in)
{
    static const mode_t modes[] = {0640, 0604, 0660, 0601, 0620, 0644};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        write_key(32, "\n", modes[i]);
        expect_refused(CARRICK_ERR_DENIED, "chmod 600");
    }
}

Test(key_file, owner_is_someone_else)
{
    if (geteuid() != 0)
        cr_skip("needs root to give a file away");
    write_key(32, "\n", 0600);
    cr_assert(eq(int, chown(path, 12345, 0), 0));
    expect_refused(CARRICK_ERR_DENIED, "belongs to user 12345");
}

Test(key_file, no_regular_file)
{
    cr_assert(eq(int, mkfifo(path, 0600), 0));
    expect_refused(CARRICK_ERR_INVALID, "is not a regular file");
    unlink(path);
    cr_assert(eq(int, mkdir(path, 0700), 0));
    expect_refused(CARRICK_ERR_INVALID, "is not a regular file");
    rmdir(path);
}

Test(key_file, missing)
{
    expect_refused(CARRICK_ERR_NOT_FOUND, "/dev/urandom");
}

Test(key_file, relative_path)
{
    cr_assert(eq(int, key_file_read("key", &key, &error), CARRICK_ERR_INVALID));
    cr_assert(ne(ptr, strstr(error.text, "absolute"), NULL));
}
