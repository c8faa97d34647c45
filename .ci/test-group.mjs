// Runs several test files in one process, which loads the program only once. TEST_FILES contains their paths, one per
// line. The command line has one argument, whose only purpose is to distinguish this process from others, because tap
// names its folders after the command line.
// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'

const files = (process.env.TEST_FILES ?? '').split('\n').filter((line) => line !== '')
delete process.env.TEST_FILES
// A file's time limit would apply to all files. The runner's limit in TAP_TIMEOUT allows several minutes for each file.
t.setTimeout = () => {}
for (const file of files) await import(pathToFileURL(resolve(file)).href)
