import { Counter, Gauge, Histogram } from '@weft/telemetry'

export const connections = new Gauge({
  name: 'weft_alerts_connections',
  help: 'Clients connected to the alerts API.',
  labelNames: ['kind'],
})
export const refused = new Counter({
  name: 'weft_alerts_refused_total',
  help: 'Streams that were not opened, by status.',
  labelNames: ['status'],
})
export const encoded = new Counter({
  name: 'weft_alerts_encoded_total',
  help: 'Alerts decoded and encoded for all that listen.',
})
export const undecodable = new Counter({
  name: 'weft_alerts_undecodable_total',
  help: 'Records of the alerts topic that could not be decoded and are not shown.',
})
export const deliveries = new Counter({
  name: 'weft_alerts_deliveries_total',
  help: 'Alerts written to clients.',
  labelNames: ['kind'],
})
export const resets = new Counter({
  name: 'weft_alerts_resets_total',
  help: 'Gaps announced to clients, by reason.',
  labelNames: ['reason'],
})
export const ended = new Counter({
  name: 'weft_alerts_ended_total',
  help: 'Connections ended by the server, by reason.',
  labelNames: ['reason'],
})
export const deliverySeconds = new Histogram({
  name: 'weft_alerts_delivery_seconds',
  help: 'From the log taking an alert to it being written to those who follow live.',
  buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
})
export const ageSeconds = new Histogram({
  name: 'weft_alerts_age_seconds',
  help: 'From an alert being raised to it being written to those who follow live.',
  buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
})
export const ringBytes = new Gauge({ name: 'weft_alerts_ring_bytes', help: 'Recent alerts kept ready in memory.' })
export const queuedBytes = new Gauge({
  name: 'weft_alerts_queued_bytes',
  help: 'Bytes written that clients have not taken yet.',
})
