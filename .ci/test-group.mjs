// Runs several test files in one process, which loads the program only once. TEST_FILES contains their paths, one per
// line. The command line has one argument, whose only purpose is to distinguish this process from others, because tap
// names its folders after the command line.
// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const files = (process.env.TEST_FILES ?? '').split('\n').filter((line) => line !== '')
delete process.env.TEST_FILES
for (const file of files) await import(pathToFileURL(resolve(file)).href)
