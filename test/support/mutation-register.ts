/** For `node --import`: puts the text in MUTATED_TEXT in the place of the module MUTATED_MODULE. */
// SPDX-License-Identifier: Apache-2.0
import { register } from 'node:module'

register('./mutation-hooks.js', import.meta.url, {
  data: { url: process.env['MUTATED_MODULE'], source: process.env['MUTATED_TEXT'] },
})
