// SPDX-License-Identifier: Apache-2.0
//
// What the kernel tells in files, from a root that tests may choose.

#include "cli/doctor.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 512

// False: the path does not fit, and so there is no such file.
static bool path_of(const struct doctor *doctor, char *path, const char *format, va_list args)
{
    int length = snprintf(path, PATH_BYTES, "%s", doctor->root);
    if (length < 0 || length >= PATH_BYTES)
        return false;
    int rest = vsnprintf(path + length, PATH_BYTES - (size_t)length, format, args);
    return rest >= 0 && length + rest < PATH_BYTES;
}

bool tree_is_there(const struct doctor *doctor, const char *format, ...)
{
    char path[PATH_BYTES];
    va_list args;
    va_start(args, format);
    bool fits = path_of(doctor, path, format, args);
    va_end(args);
    return fits && access(path, F_OK) == 0;
}

static bool read_line(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    text[0] = 0;
    if (!file)
        return false;
    // An attribute that does not apply is there and cannot be read.
    bool good = fgets(text, (int)size, file) != NULL;
    fclose(file);
    if (!good)
        text[0] = 0;
    for (size_t length = strlen(text);
         length > 0 && (text[length - 1] == '\n' || text[length - 1] == ' ');)
        text[--length] = 0;
    return good;
}

bool tree_line(const struct doctor *doctor, char *text, size_t size, const char *format, ...)
{
    char path[PATH_BYTES];
    va_list args;
    va_start(args, format);
    bool fits = path_of(doctor, path, format, args);
    va_end(args);
    text[0] = 0;
    return fits && read_line(path, text, size);
}

int64_t tree_number(const struct doctor *doctor, const char *format, ...)
{
    char path[PATH_BYTES], text[64], *end;
    va_list args;
    va_start(args, format);
    bool fits = path_of(doctor, path, format, args);
    va_end(args);
    if (!fits || !read_line(path, text, sizeof text))
        return -1;
    long long number = strtoll(text, &end, 0);
    return end == text || number < 0 ? -1 : number;
}

bool tree_each_line(const struct doctor *doctor, const char *path,
                    bool (*fn)(void *arg, const char *line), void *arg)
{
    char whole[PATH_BYTES], line[1024];
    bool found = false;
    if (snprintf(whole, sizeof whole, "%s%s", doctor->root, path) >= (int)sizeof whole)
        return false;
    FILE *file = fopen(whole, "re");
    if (!file)
        return false;
    while (!found && fgets(line, sizeof line, file))
        found = fn(arg, line);
    fclose(file);
    return found;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

void tree_list(const struct doctor *doctor, const char *path, struct name_list *list)
{
    char whole[PATH_BYTES];
    list->count = 0;
    if (snprintf(whole, sizeof whole, "%s%s", doctor->root, path) >= (int)sizeof whole)
        return;
    DIR *directory = opendir(whole);
    if (!directory)
        return;
    for (struct dirent *entry; list->count < DOCTOR_LIST_MAX && (entry = readdir(directory));) {
        if (entry->d_name[0] == '.' || strlen(entry->d_name) >= DOCTOR_NAME_BYTES)
            continue;
        memcpy(list->names[list->count++], entry->d_name, strlen(entry->d_name) + 1);
    }
    closedir(directory);
    qsort(list->names, list->count, sizeof list->names[0], by_name);
}
