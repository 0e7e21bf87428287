import { defineConfig } from 'vitest/config'
import base, { KAFKA } from './vitest.config.ts'

/** What needs Kafka: the transport's suite and every `*.kafka.test.ts`. See docs/kafka.md. */
export default defineConfig({ test: { ...base.test, include: KAFKA, exclude: ['**/node_modules/**'] } })
