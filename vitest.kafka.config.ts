import { defineConfig } from 'vitest/config'
import base, { KAFKA } from './vitest.config.ts'

/** The Kafka transport against a real broker, which is started once. See docs/kafka.md. */
export default defineConfig({
  test: { ...base.test, include: KAFKA, exclude: ['**/node_modules/**'], globalSetup: ['local/servers/for-tests.ts'] },
})
