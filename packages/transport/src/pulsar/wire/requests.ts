/** Commands with a request id, and what answers them when all is well. An `error` with the same id can answer any. */
export interface Requests {
  producer: 'producerSuccess'
  subscribe: 'success'
  unsubscribe: 'success'
  closeProducer: 'success'
  closeConsumer: 'success'
  seek: 'success'
  partitionedMetadata: 'partitionedMetadataResponse'
  lookup: 'lookupResponse'
  getLastMessageId: 'getLastMessageIdResponse'
  topicsOfNamespace: 'topicsOfNamespaceResponse'
  getSchema: 'getSchemaResponse'
  getOrCreateSchema: 'getOrCreateSchemaResponse'
  ack: 'ackResponse'
  newTxn: 'newTxnResponse'
  addPartitionToTxn: 'addPartitionToTxnResponse'
  addSubscriptionToTxn: 'addSubscriptionToTxnResponse'
  endTxn: 'endTxnResponse'
  tcClientConnect: 'tcClientConnectResponse'
}
export type RequestName = keyof Requests
